import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { constants, Script } from 'node:vm';

/**
 * A bundle as V8 compiles it, with the code cache beside it when there is one that fits: that saves the compiling, a third of a sidecar's
 * start. V8 refuses a cache of another version, of other flags or of another source, and the bundle is compiled as if there were none.
 *
 * @param file the bundle, a CommonJS script
 */
export function loadBundle(file: string): Script {
  const source = `(function(exports,require,module,__filename,__dirname,__bundleUrl){${readFileSync(file, 'utf8')}\n})`;
  return new Script(source, {
    filename: file,
    cachedData: readIfThere(`${file}.cache`),
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
}

/** Runs a loaded bundle as Node.js would run a CommonJS main file. */
export function runBundle(script: Script, file: string): void {
  type Wrapper = (...given: unknown[]) => void;
  const module = { exports: {} };
  const wrapper = script.runInThisContext() as Wrapper;
  const url = pathToFileURL(file).href;
  wrapper(module.exports, createRequire(file), module, file, dirname(file), url);
}

/** Where the bundle `name` lies beside this program. */
export function bundleBeside(folder: string, name: string): string {
  return join(folder, `${name}.js`);
}

function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined; // only slower
  }
}
