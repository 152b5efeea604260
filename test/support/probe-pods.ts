import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { type InstalledCluster, list, namespace, pod } from './installed-cluster.ts';
import { rigBinaries } from './kube-control-plane.ts';
import type { Matrix, Outcome } from './reachability.ts';

/** Ports at which every pod listens, with the names that upstream's policies call them by. */
export const PORTS = [80, 81] as const;
export const portName = (port: number): string => `serve-${port}-tcp`;

/** Answers whoever says something with the pod's name. */
const SERVER = `
const server = (port) => require('net').createServer((s) => {
  s.on('error', () => {}).once('data', () => s.end(process.env.NAME));
}).listen(port);
[${PORTS.join(', ')}].forEach(server);
process.on('SIGTERM', () => process.exit());`;

/** Reads lines with addresses to connect to, all at once, and answers each line with what became of them. */
const PROBER = `
const net = require('net');
const probe = ([host, port, name]) => new Promise((resolve) => {
  let said = '';
  const s = net.connect({ host, port }, () => s.write('who?'));
  const timer = setTimeout(() => { resolve('silent'); s.destroy(); }, 20000);
  s.on('data', (data) => said += data).on('error', () => {}).on('close', () => {
    clearTimeout(timer);
    resolve(said === name ? 'open' : said === '' ? 'refused' : 'wrong answer: ' + said.slice(0, 60));
  });
});
require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  console.log(JSON.stringify(await Promise.all(JSON.parse(line).map(probe))));
}).on('close', () => process.exit());
console.log('ready');`;

/** Pods that are servers and clients to each other, for tables of who reaches whom. */
export class ProbePods {
  /** `namespace/name` of each. */
  readonly names: readonly string[];
  readonly addresses: ReadonlyMap<string, string>;
  readonly #probers: ReadonlyMap<string, Prober>;

  private constructor(addresses: ReadonlyMap<string, string>, probers: ReadonlyMap<string, Prober>) {
    this.names = [...addresses.keys()];
    this.addresses = addresses;
    this.#probers = probers;
  }

  /** In each of the namespaces a pod of each name, with that as its label `pod`, a sidecar, and a client in it that waits for orders. */
  static async start(
    t: Pick<Test, 'teardown'>,
    installed: InstalledCluster,
    namespaces: readonly string[],
    names: readonly string[],
  ): Promise<ProbePods> {
    const ports = PORTS.map((port) => ({ name: portName(port), containerPort: port, protocol: 'TCP' }));
    const readinessProbe = { tcpSocket: { port: PORTS[0] }, periodSeconds: 1 };
    const all = namespaces.flatMap((where) => names.map((name) => ({ where, name })));
    await installed.cluster.apply(
      list(
        ...namespaces.map((name) => namespace(name, { 'countersign.io/inject': 'true' })),
        ...all.map(({ where, name }) => {
          const env = [{ name: 'NAME', value: `${where}/${name}` }];
          return pod(where, name, SERVER, {
            labels: { pod: name },
            container: { env, ports, readinessProbe },
          });
        }),
      ),
    );
    for (const where of namespaces) await installed.ready(where);
    const addresses = new Map<string, string>();
    for (const where of namespaces) {
      const found = await installed.json<{
        items: { metadata: { name: string }; status: { podIP: string } }[];
      }>(['-n', where, 'get', 'pods']);
      for (const { metadata, status } of found.items)
        addresses.set(`${where}/${metadata.name}`, status.podIP);
    }
    const probers = new Map<string, Prober>();
    const kubeconfig = installed.cluster.plane.kubeconfig();
    for (const { where, name } of all) {
      const prober = new Prober(kubeconfig, where, name);
      t.teardown(() => prober.end());
      probers.set(`${where}/${name}`, prober);
    }
    await Promise.all([...probers.values()].map((prober) => prober.ready));
    return new ProbePods(addresses, probers);
  }

  /** Lets every pod connect to every pod at this port. */
  async matrix(port: number): Promise<Matrix> {
    const targets = [...this.addresses].map(([name, address]) => [address, port, name] as const);
    const rows = [...this.#probers].map(async ([from, prober]) => {
      const outcomes = await prober.ask(targets);
      return targets.map(([, , to], at) => [`${from} > ${to}`, outcomes[at]!] as const);
    });
    return new Map((await Promise.all(rows)).flat());
  }
}

/** A program in a pod's application container, over `kubectl exec` for as long as the test runs. */
class Prober {
  readonly ready: Promise<unknown>;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(kubeconfig: string, where: string, name: string) {
    const command = ['-n', where, 'exec', '-i', name, '-c', 'app', '--', 'node', '-e', PROBER];
    const kubectl = join(rigBinaries('kubectl'), 'kubectl');
    this.#child = spawn(
      'setpriv',
      ['--pdeathsig', 'SIGKILL', kubectl, '--kubeconfig', kubeconfig, ...command],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    this.ready = this.#line();
  }

  async ask(
    targets: readonly (readonly [address: string, port: number, name: string])[],
  ): Promise<Outcome[]> {
    this.#child.stdin!.write(`${JSON.stringify(targets)}\n`);
    return JSON.parse(await this.#line()) as Outcome[];
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  async #line(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done === true) throw new Error('the client in the pod has ended');
    return next.value;
  }
}
