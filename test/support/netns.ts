import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import type { Test } from 'tap';
import { removeNamespace } from '../../src/demo/namespaces.ts';
import { ownPrefix } from './namespaces.ts';

/** Why system tests cannot run here; false when they can. With COUNTERSIGN_TEST_NO_SKIP that is an error. */
export function cannotNetns(): string | false {
  let problem: string | false = false;
  if (process.getuid?.() !== 0) problem = 'needs root';
  else {
    try {
      execFileSync('ip', ['netns', 'list'], { stdio: 'ignore' });
      execFileSync('unshare', ['--net', 'true'], { stdio: 'ignore' });
    } catch {
      problem = 'needs iproute2 and network namespaces';
    }
  }
  // eslint-disable-next-line node/no-process-env -- what CI demands of a test is no setting of the program
  if (problem !== false && process.env['COUNTERSIGN_TEST_NO_SKIP'] === '1') {
    throw new Error(`this system test must not be skipped, but ${problem}`);
  }
  return problem;
}

let networks = 0;

/** A switched network of namespaces, which ends with the test. Nothing of it touches the network that the test runs in. */
export class TestNetwork {
  readonly #prefix = `${ownPrefix()}${networks++}-`;
  readonly #children = new Set<ChildProcess>();
  readonly #namespaces: string[] = [];
  #hosts = 0;

  constructor(t: Pick<Test, 'teardown'>) {
    // A test that ends the process itself never comes to its teardown.
    const atExit = (): void => this.close();
    process.once('exit', atExit);
    t.teardown(() => {
      this.close();
      process.off('exit', atExit);
    });
    this.#add('switch');
    ip('-n', this.name('switch'), 'link', 'add', 'br0', 'type', 'bridge');
    ip('-n', this.name('switch'), 'addr', 'add', '10.99.255.254/16', 'dev', 'br0');
    ip('-n', this.name('switch'), 'addr', 'add', 'fd99::fffe/64', 'dev', 'br0', 'nodad');
    ip('-n', this.name('switch'), 'link', 'set', 'br0', 'up');
  }

  name(host: string): string {
    return `${this.#prefix}${host}`;
  }

  /** Adds a host. @returns its addresses */
  host(host: string): { four: string; six: string } {
    const number = ++this.#hosts;
    const [four, six] = [`10.99.0.${number}`, `fd99::${number}`];
    const name = this.#add(host);
    const port = `v${number}`;
    ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port, 'netns', this.name('switch'));
    ip('-n', this.name('switch'), 'link', 'set', port, 'master', 'br0', 'up');
    ip('-n', name, 'addr', 'add', `${four}/16`, 'dev', 'eth0');
    ip('-n', name, 'addr', 'add', `${six}/64`, 'dev', 'eth0', 'nodad');
    ip('-n', name, 'link', 'set', 'eth0', 'up');
    ip('-n', name, 'route', 'add', 'default', 'via', '10.99.255.254');
    ip('-n', name, '-6', 'route', 'add', 'default', 'via', 'fd99::fffe');
    return { four, six };
  }

  /**
   * Joins this network with another one, whose addresses may be the same, by a link between their routers. What goes over the link comes from the router's
   * address there; {@link forward} leads its ports to hosts.
   * @param here address of this router on the link, with the prefix; `there` that of the other one
   */
  joinByNat(other: TestNetwork, here: string, there: string): void {
    const [ours, theirs] = [this.name('switch'), other.name('switch')];
    ip('-n', ours, 'link', 'add', 'wan', 'type', 'veth', 'peer', 'name', 'wan', 'netns', theirs);
    for (const [name, address] of [
      [ours, here],
      [theirs, there],
    ] as const) {
      ip('-n', name, 'addr', 'add', address, 'dev', 'wan');
      ip('-n', name, 'link', 'set', 'wan', 'up');
      ip('netns', 'exec', name, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
      const masquerade = ['-t', 'nat', '-A', 'POSTROUTING', '-o', 'wan', '-j', 'MASQUERADE'];
      ip('netns', 'exec', name, 'iptables', ...masquerade);
    }
  }

  /** The router leads a port of its address on the link to a host. */
  forward(port: number, to: string): void {
    const match = ['-i', 'wan', '-p', 'tcp', '--dport', String(port)];
    const rule = [
      '-t',
      'nat',
      '-A',
      'PREROUTING',
      ...match,
      '-j',
      'DNAT',
      '--to-destination',
      `${to}:${port}`,
    ];
    ip('netns', 'exec', this.name('switch'), 'iptables', ...rule);
  }

  /** Sets a kernel setting of the host's namespace. */
  sysctl(host: string, name: string, value: string): void {
    const file = `/proc/sys/${name.replaceAll('.', '/')}`;
    ip('netns', 'exec', this.name(host), 'sh', '-c', 'echo "$0" > "$1"', value, file);
  }

  /** Runs a program to its end, which comes after a minute at the latest. */
  run(
    host: string,
    command: readonly string[],
    options: { input?: string; timeoutMs?: number } = {},
  ): Promise<Ran> {
    const child = this.start(host, command);
    let [out, complaint] = ['', ''];
    child.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString('latin1')));
    child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString('latin1')));
    child.stdin!.on('error', () => {});
    child.stdin!.end(options.input ?? '');
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
    return new Promise((resolve) => {
      child.on('close', (status) => {
        clearTimeout(timer);
        resolve({ status, out, complaint });
      });
    });
  }

  /**
   * Starts a program; it is killed with the network, and dies with this process, whatever ends that.
   * @param seesCgroups with the mounts of this process: `ip netns exec` hides those below /sys
   */
  start(
    host: string,
    command: readonly string[],
    uid?: number,
    capabilities: readonly string[] = [],
    seesCgroups = false,
  ): ChildProcess {
    const granted = capabilities.map((name) => `+${name}`).join(',');
    const as = ['setpriv', '--pdeathsig=KILL'];
    if (uid !== undefined) as.push(`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--no-new-privs');
    if (granted !== '') as.push(`--inh-caps=${granted}`, `--ambient-caps=${granted}`);
    const mounts = seesCgroups ? ['nsenter', `--mount=/proc/${process.pid}/ns/mnt`] : [];
    const child = spawn('ip', ['netns', 'exec', this.name(host), ...mounts, ...as, ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    child.on('close', () => this.#children.delete(child));
    return child;
  }

  close(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const name of this.#namespaces) removeNamespace(name);
    this.#namespaces.length = 0;
  }

  #add(host: string): string {
    const name = this.name(host);
    ip('netns', 'add', name);
    this.#namespaces.push(name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
    return name;
  }
}

export interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly complaint: string;
}

function ip(...command: string[]): void {
  execFileSync('ip', command, { stdio: ['ignore', 'ignore', 'pipe'] });
}
