import { readdirSync, readFileSync } from 'node:fs';

/** The process with this argument; undefined: there is none. Pods' processes are this machine's. */
export function processOf(argument: string): number | undefined {
  const id = readdirSync('/proc').find((name) => {
    try {
      return (
        /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').includes(argument)
      );
    } catch {
      // It ended meanwhile.
      return false;
    }
  });
  return id === undefined ? undefined : Number(id);
}

/** When the process with this argument began, milliseconds since the epoch, to a hundredth of a second. @throws Error when there is none */
export function startOf(argument: string): number {
  const id = processOf(argument);
  if (id === undefined) throw new Error(`no process has the argument ${argument}`);
  const fields = readFileSync(`/proc/${id}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
  return Date.now() - uptime + Number(fields[19]) * 10;
}
