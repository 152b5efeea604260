import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { installed } from '../installation.ts';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { lines, namespaceNames, removeNamespace } from './namespaces.ts';
import { lifeOf } from './process-life.ts';

const PREFIX = 'countersign-demo-';
/** Everything that the demo writes. */
export const STATE = '/run/countersign-demo';
/** For whatever has to come, also on a machine that is slow or busy: nobody waits so long where all is well. */
export const PATIENCE_MS = 120_000;
const SWITCH = 'net';
const CHECKOUT = installed('').replace(/\/$/, '');

/** What came of a program that ran to its end. */
export interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly complaint: string;
}

/**
 * The machine room of the demo: pods as network namespaces behind one bridge, which stands in a namespace of its own, so that the machine's
 * own network sees nothing of it. {@link World.close} takes everything away; what a killed demo left, the next one does.
 */
export class World {
  readonly #children = new Set<ChildProcess>();

  private constructor() {}

  /** Takes over from a demo that died, or refuses while one runs. */
  static open(): World {
    if (process.getuid?.() !== 0) {
      throw new UserError('the demo makes network namespaces and netfilter rules: run it as root', {
        exitCode: EXIT.failure,
      });
    }
    const running = runningDemo();
    if (running !== undefined) {
      throw new UserError(`another demo is running (process ${running}); wait for it or end it first`, {
        exitCode: EXIT.failure,
      });
    }
    checkReadable();
    checkTools();
    // Other users read what is written here, whatever the umask of whoever started this.
    process.umask(0o022);
    const world = new World();
    world.close();
    try {
      world.#prepare();
    } catch (error) {
      world.close();
      throw new UserError(`network namespaces cannot be made here: ${messageOf(error)}`, {
        exitCode: EXIT.failure,
      });
    }
    return world;
  }

  #prepare(): void {
    mkdirSync(STATE, { recursive: true });
    chmodSync(STATE, 0o755);
    mkdirSync(join(STATE, 'checkout'));
    writeFileSync(join(STATE, 'pid'), lifeOf(process.pid)!);
    this.#add(SWITCH);
    inNamespace(SWITCH, 'link', 'add', 'br0', 'type', 'bridge');
    inNamespace(SWITCH, 'addr', 'add', '10.244.255.254/16', 'dev', 'br0');
    inNamespace(SWITCH, 'addr', 'add', 'fd00:10:244::fffe/64', 'dev', 'br0', 'nodad');
    inNamespace(SWITCH, 'link', 'set', 'br0', 'up');
  }

  /** Adds a pod with its addresses. */
  addPod(name: string, addresses: readonly string[]): void {
    this.#add(name);
    // An interface's name has room for 15 characters.
    const port = `v-${name}`.slice(0, 15);
    inNamespace(name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port, 'netns', PREFIX + SWITCH);
    inNamespace(SWITCH, 'link', 'set', port, 'master', 'br0', 'up');
    for (const address of addresses) {
      const six = address.includes(':');
      inNamespace(
        name,
        'addr',
        'add',
        `${address}/${six ? 64 : 16}`,
        'dev',
        'eth0',
        ...(six ? ['nodad'] : []),
      );
    }
    inNamespace(name, 'link', 'set', 'eth0', 'up');
    inNamespace(name, 'route', 'add', 'default', 'via', '10.244.255.254');
    inNamespace(name, '-6', 'route', 'add', 'default', 'via', 'fd00:10:244::fffe');
  }

  /** Runs a program in a pod to its end, which comes after {@link PATIENCE_MS} at the latest. */
  async run(pod: string, command: readonly string[]): Promise<Ran> {
    const child = this.start(pod, command);
    let [out, complaint] = ['', ''];
    child.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    return new Promise((resolve) => {
      child.on('close', (status) => {
        clearTimeout(timer);
        resolve({ status, out, complaint });
      });
    });
  }

  /** Starts a program in a pod. It dies with the demo, however the demo dies. */
  start(
    pod: string,
    command: readonly string[],
    uid?: number,
    capabilities: readonly string[] = [],
  ): ChildProcess {
    const user =
      uid === undefined ? [] : [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--no-new-privs'];
    const granted = capabilities.map((name) => `+${name}`).join(',');
    if (granted !== '') user.push(`--inh-caps=${granted}`, `--ambient-caps=${granted}`);
    // ip netns exec gives a mount namespace of its own: there the checkout appears where every user may read it.
    const script = `mount --bind "$0" ${STATE}/checkout && exec setpriv --pdeathsig=KILL "$@"`;
    const child = spawn(
      'ip',
      ['netns', 'exec', PREFIX + pod, 'sh', '-c', script, CHECKOUT, ...user, '--', ...command],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#children.add(child);
    child.on('error', () => this.#children.delete(child));
    child.on('close', () => this.#children.delete(child));
    return child;
  }

  /** Ends everything and removes everything. */
  close(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const name of namespaceNames()) if (name.startsWith(PREFIX)) removeNamespace(name);
    rmSync(STATE, { recursive: true, force: true });
  }

  #add(name: string): void {
    execFileSync('ip', ['netns', 'add', PREFIX + name], { stdio: ['ignore', 'ignore', 'pipe'] });
    inNamespace(name, 'link', 'set', 'lo', 'up');
  }
}

/** The command line of the program itself, for a user that may not be able to enter the checkout. */
export function countersign(...command: string[]): string[] {
  return [...node(), '--disable-sigusr1', `${STATE}/checkout/src/main.ts`, ...command];
}

/** Node.js, for every user. */
export function node(): string[] {
  const real = realpathSync(process.execPath);
  return [real.startsWith(`${CHECKOUT}/`) ? `${STATE}/checkout${real.slice(CHECKOUT.length)}` : real];
}

/** A file of the program, for every user. */
export function programFile(path: string): string {
  return `${STATE}/checkout/${path}`;
}

/** How to run something in a pod by hand. */
export function byHand(pod: string): string {
  return `ip netns exec ${PREFIX}${pod}`;
}

/** Sidecars and applications run as users of their own, which have to be able to read what they run. */
function checkReadable(): void {
  for (const path of ['', 'src/main.ts', 'node_modules', 'native/build']) {
    const needed = statSync(join(CHECKOUT, path)).isDirectory() ? 0o005 : 0o004;
    if ((statSync(join(CHECKOUT, path)).mode & needed) !== needed) {
      throw new UserError(
        `${join(CHECKOUT, path)} can be read by its owner alone, and the demo's pods run as other users: chmod -R go+rX ${CHECKOUT}`,
        { exitCode: EXIT.failure },
      );
    }
  }
}

/** The process of a demo that is alive; a number that somebody else has by now is none. */
function runningDemo(): number | undefined {
  if (!existsSync(join(STATE, 'pid'))) return undefined;
  const life = readFileSync(join(STATE, 'pid'), 'utf8');
  const pid = Number.parseInt(life, 10);
  return lifeOf(pid) === life ? pid : undefined;
}

/** Throws a `UserError` that names every program that is missing, before anything is made. */
function checkTools(): void {
  const missing = ['ip', 'setpriv', 'curl', 'tcpdump'].filter(
    (tool) => lines('sh', '-c', 'command -v "$0"', tool).length === 0,
  );
  if (missing.length > 0) {
    throw new UserError(`the demo needs ${missing.join(', ')}: 'make setup' installs what is missing`, {
      exitCode: EXIT.failure,
    });
  }
}

function inNamespace(pod: string, ...command: string[]): void {
  execFileSync('ip', ['-n', PREFIX + pod, ...command], { stdio: ['ignore', 'ignore', 'pipe'] });
}
