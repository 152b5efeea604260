/**
 * `make bundle`: what an image carries. Two programs, each one file of JavaScript, a code cache and a small launcher:
 *
 *   bundle/countersign.cjs  the whole command line
 *   bundle/sidecar.cjs      what runs in every pod: `proxy`, `redirect`, `version`
 *
 * A checkout runs `src/` as it is; bundles are for where start and memory are paid per pod.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';

const root = join(import.meta.dirname, '..');
const folder = join(root, 'bundle');
const BUNDLES = { countersign: 'src/main.ts', sidecar: 'src/sidecar-main.ts' };

/**
 * Reading the API itself takes an HTTP client of 700 KB, reading certificates half a megabyte, which every sidecar would hold though hardly one uses them. The
 * whole program has both.
 */
const LEFT_OUT = [
  { file: 'kubernetes-source.ts', class: 'KubernetesSource', flag: '--source kubernetes' },
  { file: 'certificate-identity.ts', class: 'CertificateIdentity', flag: '--identity pki' },
];
const withoutRareParts: Plugin = {
  name: 'without-rare-parts',
  setup: (made) => {
    for (const { file, class: name, flag } of LEFT_OUT) {
      const namespace = `left-out-${name}`;
      made.onResolve({ filter: new RegExp(`/${file.replace('.', '\\.')}$`) }, ({ path }) => ({
        path,
        namespace,
      }));
      made.onLoad({ filter: /./, namespace }, () => ({
        resolveDir: root,
        loader: 'ts',
        contents: `import { UserError } from './src/errors.ts';
export class ${name} {
  constructor() {
    throw new UserError('${flag} is not in the bundle for injected pods: run bundle/countersign.cjs proxy instead');
  }
}`,
      }));
    }
  },
};

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
for (const [name, entry] of Object.entries(BUNDLES)) {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: join(folder, `${name}.js`),
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    minify: true,
    keepNames: true,
    metafile: true,
    legalComments: 'none',
    logLevel: 'warning',
    define: { 'import.meta.url': '__bundleUrl' },
    plugins: name === 'sidecar' ? [withoutRareParts] : [],
  });
  writeFileSync(
    join(folder, `${name}.inputs.json`),
    JSON.stringify(Object.keys(metafile.inputs).sort(), null, 1),
  );
  await build({
    absWorkingDir: root,
    stdin: {
      contents: `import { bundleBeside, loadBundle, runBundle } from './src/launch.ts';
const file = bundleBeside(__dirname, '${name}');
runBundle(loadBundle(file), file);`,
      resolveDir: root,
      loader: 'ts',
    },
    outfile: join(folder, `${name}.cjs`),
    // In an image /usr/local/bin/countersign leads here; there is no shell that could start it otherwise.
    banner: name === 'countersign' ? { js: '#!/usr/local/bin/node --disable-sigusr1' } : {},
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    logLevel: 'warning',
  });
  // What it says is shown when it fails.
  execFileSync(process.execPath, [join(root, 'tools/bundle-cache.ts'), join(folder, `${name}.js`), name], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const size = (file: string): string => `${(readFileSync(join(folder, file)).length / 1024).toFixed(0)} KB`;
  process.stdout.write(`bundle/${name}.js  ${size(`${name}.js`)}, code cache ${size(`${name}.js.cache`)}\n`);
}
