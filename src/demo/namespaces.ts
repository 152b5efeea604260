import { execFileSync } from 'node:child_process';

/** Names of the network namespaces of this machine (ip-netns(8)). */
export function namespaceNames(): string[] {
  return lines('ip', 'netns', 'list').map((line) => line.split(' ', 1)[0]!);
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

/** What a program prints, by lines; none where it fails or is not there. */
export function lines(...command: string[]): string[] {
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
