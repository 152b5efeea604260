import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { until } from './until.ts';

const ROOT = '/sys/fs/cgroup';
/** Nothing in it lives any more; the kernel may still be putting it away. */
const PATIENCE_MS = 60_000;

/** Every hierarchy of version 1 that is mounted, and the one of version 2, whichever there are. */
function hierarchies(): string[] {
  if (existsSync(join(ROOT, 'cgroup.controllers'))) return [ROOT];
  // Links, where several controllers share a hierarchy, lead to folders that are in the list themselves.
  return readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(ROOT, name));
}

/** The cgroup of a node, in every hierarchy. @returns its name, as kubelet takes it for its root */
export function makeCgroup(folder: string): string {
  const name = `/${basename(folder)}`;
  for (const hierarchy of hierarchies()) {
    const place = join(hierarchy, name);
    mkdirSync(place, { recursive: true });
    // Nobody can be put into a cpuset that has no CPUs.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const [from, to] = [join(hierarchy, file), join(place, file)];
      if (existsSync(from) && existsSync(to)) writeFileSync(to, readFileSync(from));
    }
    const controllers = join(hierarchy, 'cgroup.subtree_control');
    if (hierarchy === ROOT && existsSync(controllers)) {
      const all = readFileSync(join(hierarchy, 'cgroup.controllers'), 'utf8').trim().split(' ');
      for (const at of [controllers, join(place, 'cgroup.subtree_control')])
        writeFileSync(at, all.map((one) => `+${one}`).join(' '));
    }
  }
  return name;
}

/** Names of cgroups with this beginning. */
export function cgroupsNamed(prefix: string): string[] {
  if (!existsSync(ROOT)) return [];
  const names = hierarchies().flatMap((hierarchy) => readdirSync(hierarchy, { withFileTypes: true }));
  const folders = names.filter((entry) => entry.isDirectory() && entry.name.startsWith(prefix));
  return [...new Set(folders.map(({ name }) => `/${name}`))];
}

/** Removes a cgroup and those below, in every hierarchy; whoever is in it is killed. */
export async function removeCgroup(name: string): Promise<void> {
  await until(
    `the cgroup ${name} is gone`,
    () => hierarchies().every((hierarchy) => isRemoved(join(hierarchy, name))),
    PATIENCE_MS,
  );
}

function isRemoved(folder: string): boolean {
  if (!existsSync(folder)) return true;
  try {
    for (const id of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean))
      process.kill(Number(id), 'SIGKILL');
    const below = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    const all = below.map(({ name }) => isRemoved(join(folder, name)));
    if (!all.every(Boolean)) return false;
    rmdirSync(folder);
  } catch {
    // Somebody in it is still ending.
  }
  return !existsSync(folder);
}
