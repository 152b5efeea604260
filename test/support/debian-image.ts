import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { archiveOf } from './container-image.ts';

const STATE = join(import.meta.dirname, '../../.setup/image');
const PREFIX = 'debian-';
/** What only builds or explains, or what a server loads for queries that cost a million rows. */
const NEEDLESS = [
  '/usr/lib/*/libLLVM*',
  '/usr/lib/*/libz3*',
  '/usr/lib/*/perl*',
  '/usr/share/perl*',
  '/usr/lib/postgresql/*/lib/bitcode',
  '/usr/lib/postgresql/*/lib/llvmjit*',
  '/usr/share/doc',
  '/usr/share/locale',
  '/usr/share/man',
  '/var/cache/apt',
  '/var/lib/apt',
];

/**
 * An image of Debian packages as their maintainers made them, with mmdebstrap, which `make image` has installed. A minute, once: it is kept by the names of the packages.
 * @returns the archive, for `importImage`
 */
export function debianImage(name: string, packages: readonly string[]): string {
  const recipe = createHash('sha256')
    .update(JSON.stringify([packages, NEEDLESS]))
    .digest('hex')
    .slice(0, 12);
  const archive = join(STATE, `${PREFIX}${recipe}.tar`);
  if (existsSync(archive)) return archive;
  mkdirSync(STATE, { recursive: true });
  for (const old of readdirSync(STATE))
    if (old.startsWith(PREFIX)) rmSync(join(STATE, old), { recursive: true });
  const work = mkdtempSync(join(STATE, PREFIX));
  try {
    const layer = join(work, 'layer.tar');
    const hooks = NEEDLESS.map((pattern) => `--customize-hook=rm -rf "$1"${pattern}`);
    // Their output goes to this process' own: where it fails, its log says why.
    execFileSync(
      'mmdebstrap',
      [
        '--quiet',
        '--variant=essential',
        '--aptopt=Acquire::Retries "5"',
        `--include=${packages.join(',')}`,
        ...hooks,
        'bookworm',
        layer,
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    archiveOf(name, work, join(work, 'image.tar'), ['/bin/sh']);
    renameSync(join(work, 'image.tar'), archive);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return archive;
}
