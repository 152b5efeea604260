import { readFileSync } from 'node:fs';

/** A process by its number and its start, since numbers come back (proc(5), stat, field 22); undefined: nobody has the number. */
export function lifeOf(id: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${id}/stat`, 'utf8');
    // Behind the program's name, which may hold anything.
    return `${id} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return undefined;
  }
}
