import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  existsSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** Programs of this machine that an image of tests has: a shell, enough to look around, and Node.js as `/usr/bin/node`. */
const TOOLS = ['sh', 'cat', 'ls', 'sleep', 'id', 'env', 'curl', 'ip', 'grep', 'true'];

/**
 * Writes an image with this machine's own programs and their libraries, as `docker save` does it, which containerd imports.
 * @param out the archive
 */
export function writeTestImage(name: string, out: string): void {
  writeImage(name, out, ['/usr/bin/node'], (root) => {
    for (const link of ['bin', 'sbin', 'lib', 'lib64']) {
      mkdirSync(join(root, 'usr', link), { recursive: true });
      symlinkSync(`usr/${link}`, join(root, link));
    }
    for (const folder of ['tmp', 'etc', 'run', 'proc', 'sys', 'dev']) mkdirSync(join(root, folder));
    const path = '/usr/sbin:/usr/bin:/sbin:/bin';
    for (const tool of TOOLS) {
      const found = path
        .split(':')
        .map((folder) => join(folder, tool))
        .find((file) => existsSync(file));
      if (found === undefined) throw new Error(`${tool} is not on this machine`);
      copyProgram(found, join(root, 'usr/bin', tool), root);
    }
    copyProgram(process.execPath, join(root, 'usr/bin/node'), root);
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n');
  });
}

/** The image that holds a pod's namespaces: one static program that waits for ever. */
export function writePauseImage(name: string, out: string): void {
  writeImage(name, out, ['/pause'], (root) => {
    const source = join(root, 'pause.c');
    writeFileSync(
      source,
      `#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { _exit(0); }
static void reap(int s) { while (waitpid(-1, NULL, WNOHANG) > 0) {} }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, reap); for (;;) pause(); }
`,
    );
    execFileSync('cc', ['-Os', '-static', '-s', '-o', join(root, 'pause'), source]);
    rmSync(source);
  });
}

function copyProgram(from: string, to: string, root: string): void {
  cpSync(realpathSync(from), to);
  // A static program has none, and ldd says so by its exit status.
  let libraries = '';
  try {
    libraries = execFileSync('ldd', [from], { encoding: 'utf8' });
  } catch {
    return;
  }
  for (const [, library = ''] of libraries.matchAll(/(\/\S+) \(0x/g)) {
    const target = join(root, library.replace(/^\/lib/, '/usr/lib'));
    if (existsSync(target)) continue;
    mkdirSync(dirname(target), { recursive: true });
    cpSync(realpathSync(library), target);
  }
}

function writeImage(
  name: string,
  out: string,
  entrypoint: readonly string[],
  fill: (root: string) => void,
): void {
  const work = mkdtempSync(join(tmpdir(), 'countersign-image-'));
  try {
    const root = join(work, 'root');
    mkdirSync(root);
    fill(root);
    const layer = join(work, 'layer.tar');
    const sameForAll = ['--numeric-owner', '--owner=0', '--group=0', '--sort=name', '--mtime=@0'];
    execFileSync('tar', ['-C', root, ...sameForAll, '-cf', layer, '.']);
    archiveOf(name, work, out, entrypoint);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Makes an archive of the one layer `layer.tar` in a folder. */
export function archiveOf(name: string, work: string, out: string, entrypoint: readonly string[]): void {
  const layer = join(work, 'layer.tar');
  const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
  const config = JSON.stringify({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], Entrypoint: entrypoint, WorkingDir: '/' },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(readFileSync(layer))}`] },
  });
  const configName = `${sha256(config)}.json`;
  writeFileSync(join(work, configName), config);
  const manifest = [{ Config: configName, RepoTags: [name], Layers: ['layer.tar'] }];
  writeFileSync(join(work, 'manifest.json'), JSON.stringify(manifest));
  execFileSync('tar', ['-C', work, '-cf', out, 'manifest.json', configName, 'layer.tar']);
}
