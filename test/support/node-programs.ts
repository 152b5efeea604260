import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { childOf } from './node-place.ts';

/** The programs of a node, each with a log of its own. They end with this process, whatever ends that. */
export class NodePrograms<Name extends string> {
  readonly #folder: string;
  readonly #into: readonly string[];
  readonly #running = new Map<Name, { child: ChildProcess; bin: string; args: readonly string[] }>();

  /**
   * @param folder where the logs are, `NAME.log`
   * @param into leads a command into a process namespace (nsenter), so that the program is a child of what is started here
   */
  constructor(folder: string, into: readonly string[]) {
    this.#folder = folder;
    this.#into = into;
  }

  start(bin: string, name: Name, args: readonly string[]): void {
    const command = [...this.#into, join(bin, name), ...args];
    const child = spawn('setpriv', ['--pdeathsig', 'SIGKILL', ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // containerd looks for its shim there.
      env: { PATH: `${bin}:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: '/root' },
    });
    const log = createWriteStream(join(this.#folder, `${name}.log`), { flags: 'a' });
    log.on('error', () => {});
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.once('close', () => log.end());
    this.#running.set(name, { child, bin, args });
  }

  /** Kills one as a crash would; it is gone when this resolves. Throws when it does not run. */
  async kill(name: Name): Promise<void> {
    const { child } = this.#running.get(name)!;
    if (this.ended(name) !== undefined) throw new Error(`${name} does not run`);
    const ended = once(child, 'exit');
    process.kill(childOf(child.pid!), 'SIGKILL');
    await ended;
  }

  /** Starts one that was killed as it was started before. */
  startAgain(name: Name): void {
    const { bin, args } = this.#running.get(name)!;
    this.start(bin, name, args);
  }

  /** How one ended; undefined: it runs. */
  ended(name: Name): number | string | undefined {
    const { child } = this.#running.get(name)!;
    return child.exitCode ?? child.signalCode ?? undefined;
  }

  /** The last lines of a program's log. */
  log(name: Name, lines: number): string {
    const file = join(this.#folder, `${name}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(-lines).join('\n') : '';
  }
}
