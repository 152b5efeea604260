import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroupsNamed, removeCgroup } from './node-cgroup.ts';

const PREFIX = 'countersign-kube-';
/** Says whose folder it is. */
const OWNER = 'owner';

/** A folder that {@link sweepLeftovers} takes away once this process is no more. */
export function makeOwnFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), PREFIX));
  writeFileSync(join(folder, OWNER), lifeOf(process.pid)!);
  return folder;
}

/**
 * Takes away what control planes and clusters of test processes have left that were killed: folders and cgroups. Everything else of theirs (processes, mounts,
 * network namespaces with their rules) the kernel has ended with them. What belongs to somebody who lives stays.
 */
export async function sweepLeftovers(): Promise<void> {
  const folders = readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX));
  const dead = folders.filter((name) => {
    try {
      const owner = readFileSync(join(tmpdir(), name, OWNER), 'utf8');
      return lifeOf(Number(owner.split(' ')[0])) !== owner;
    } catch {
      // It was made this moment, or somebody else sweeps it.
      return false;
    }
  });
  const cgroups = cgroupsNamed(PREFIX).filter((name) => {
    const folder = name.slice(1);
    return dead.includes(folder) || !readdirSync(tmpdir()).includes(folder);
  });
  for (const name of cgroups) await removeCgroup(name);
  for (const name of dead) {
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    } catch {
      // Somebody else sweeps it too.
    }
  }
}

/** A process by its number and its start, since numbers come back; undefined: nobody has the number. */
function lifeOf(id: number): string | undefined {
  try {
    const fields = readFileSync(`/proc/${id}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return `${id} ${fields[19]}`;
  } catch {
    return undefined;
  }
}
