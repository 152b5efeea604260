import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { removeNamespace } from '../../src/demo/namespaces.ts';
import { lifeOf } from '../../src/demo/process-life.ts';
import { abandonedNamespaces } from './namespaces.ts';
import { cgroupsNamed, removeCgroup } from './node-cgroup.ts';

const KUBE = 'countersign-kube-';
const RUN = 'countersign-run-';
/** Says whose folder it is. */
const OWNER = 'owner';

/** A folder that {@link sweepLeftovers} takes away once this process is no more. */
export function makeOwnFolder(): string {
  return ownFolder(KUBE);
}

/** Such a folder for the temporary files of a whole run of tests, whoever of its users writes them. */
export function makeRunFolder(): string {
  const folder = ownFolder(RUN);
  chmodSync(folder, 0o1777);
  return folder;
}

/**
 * Takes away what test processes have left that were killed: folders of runs, control planes and clusters, cgroups, network namespaces with whoever is in them. Everything
 * else of theirs (processes, mounts) the kernel has ended with them. What belongs to somebody who lives stays.
 */
export async function sweepLeftovers(): Promise<void> {
  for (const name of abandonedNamespaces()) removeNamespace(name);
  const common = commonFolder();
  const folders = readdirSync(common).filter((name) => name.startsWith(KUBE) || name.startsWith(RUN));
  const dead = folders.filter((name) => {
    try {
      const owner = readFileSync(join(common, name, OWNER), 'utf8');
      return lifeOf(Number(owner.split(' ')[0])) !== owner;
    } catch {
      // It was made this moment, or somebody else sweeps it.
      return false;
    }
  });
  const cgroups = cgroupsNamed(KUBE).filter((name) => {
    const folder = name.slice(1);
    return dead.includes(folder) || !readdirSync(common).includes(folder);
  });
  for (const name of cgroups) await removeCgroup(name);
  for (const name of dead) {
    try {
      rmSync(join(common, name), { recursive: true, force: true });
    } catch {
      // Somebody else sweeps it too.
    }
  }
}

function ownFolder(prefix: string): string {
  const folder = mkdtempSync(join(commonFolder(), prefix));
  writeFileSync(join(folder, OWNER), lifeOf(process.pid)!);
  return folder;
}

/** Where every run sees what the others left: that of temporary files, outside of {@link makeRunFolder}'s. */
function commonFolder(): string {
  const own = tmpdir();
  return basename(own).startsWith(RUN) ? dirname(own) : own;
}
