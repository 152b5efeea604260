import { execFileSync } from 'node:child_process';
import { lifeOf } from './process-life.ts';

const NAME = /^cst(\d+)\.(\d+)-/;

/** What the names of network namespaces begin with that belong to this process. {@link abandonedNamespaces} tells by it who has died. */
export function ownPrefix(): string {
  return `cst${lifeOf(process.pid)!.replace(' ', '.')}-`;
}

/** Network namespaces of test processes that are no more. */
export function abandonedNamespaces(): string[] {
  return lines('ip', 'netns', 'list')
    .map((line) => line.split(' ', 1)[0]!)
    .filter((name) => {
      const [, id, start] = NAME.exec(name) ?? [];
      return id !== undefined && lifeOf(Number(id)) !== `${id} ${start}`;
    });
}

/** Takes a network namespace away and kills whoever is in it. */
export function removeNamespace(name: string): void {
  for (const id of lines('ip', 'netns', 'pids', name)) {
    try {
      process.kill(Number(id), 'SIGKILL');
    } catch {
      // Whoever is gone already is gone.
    }
  }
  lines('ip', 'netns', 'del', name);
}

function lines(...command: string[]): string[] {
  try {
    const text = execFileSync(command[0]!, command.slice(1), {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text.split('\n').filter((line) => line !== '');
  } catch {
    // There is no such namespace (any more), or no such program.
    return [];
  }
}
