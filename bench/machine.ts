import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { programVersion } from '../src/version.ts';
import type { Machine } from './result.ts';

export function machine(): Machine {
  const all = cpus();
  return {
    cpus: all.length,
    model: all[0]?.model.trim() ?? 'unknown',
    kernel: release(),
    congestionControl: readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim(),
    memoryGb: Math.round(totalmem() / 1e9),
  };
}

/** Versions of everything that is measured, as far as it is installed. */
export function versions(): Record<string, string> {
  // nginx tells its version on standard error.
  const said = (program: string, ...words: string[]): string => {
    const { stdout, stderr } = spawnSync(program, words, { encoding: 'utf8' });
    return `${stdout ?? ''}${stderr ?? ''}`;
  };
  const revision = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  const found = {
    Countersign: `${programVersion()}${revision.status === 0 ? `, revision ${revision.stdout.trim()}` : ''}`,
    'Node.js': process.versions.node,
    HAProxy: /version (\S+)/.exec(said('haproxy', '-v'))?.[1],
    nginx: /nginx\/(\S+)/.exec(said('nginx', '-v'))?.[1],
    OpenSSL: /^OpenSSL (\S+)/.exec(said('openssl', 'version'))?.[1],
  };
  return Object.fromEntries(
    Object.entries(found).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
