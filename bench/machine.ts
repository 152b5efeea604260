import { execFileSync, spawnSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { programVersion } from '../src/version.ts';
import type { Machine } from './result.ts';

export function machine(): Machine {
  const all = cpus();
  return {
    cpus: all.length,
    model: all[0]?.model.trim() ?? 'unknown',
    kernel: release(),
    memoryGb: Math.round(totalmem() / 1e9),
  };
}

/** Versions of everything that is measured. */
export function versions(): Record<string, string> {
  const haproxy = execFileSync('haproxy', ['-v'], { encoding: 'utf8' }).split('\n', 1)[0]!;
  // nginx tells its version on standard error.
  const nginx = spawnSync('nginx', ['-v'], { encoding: 'utf8' }).stderr;
  const revision = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return {
    Countersign: `${programVersion()}${revision.status === 0 ? `, revision ${revision.stdout.trim()}` : ''}`,
    'Node.js': process.versions.node,
    HAProxy: /version (\S+)/.exec(haproxy)?.[1] ?? haproxy,
    nginx: /nginx\/(\S+)/.exec(nginx)?.[1] ?? nginx,
    OpenSSL: execFileSync('openssl', ['version'], { encoding: 'utf8' }).split(' ')[1] ?? '',
  };
}
