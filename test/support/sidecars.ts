import { type ChildProcess, execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { issueIdentity, initTrustDomain } from '../../src/identity/files.ts';
import type { FlowRecord } from '../../src/observe/record.ts';
import { findPod } from '../../src/sources/manifest-folder.ts';
import { TestNetwork, type Ran } from './netns.ts';

export const PROXY_UID = 14_014;
const APP_UID = 1_000;
const ROOT = join(import.meta.dirname, '../..');

/** A copy of the program where every user may read it; the checkout may lie where only root may. */
function readableProgram(folder: string): string {
  const copy = join(folder, 'program');
  mkdirSync(join(copy, '.setup'), { recursive: true });
  for (const part of ['bin', 'src', 'native/build', 'package.json', 'node_modules']) {
    if (part === 'node_modules') continue;
    cpSync(join(ROOT, part), join(copy, part), { recursive: true });
  }
  mkdirSync(join(copy, 'node_modules'));
  for (const name of [
    '@peculiar/x509',
    'commander',
    'jose',
    'lru-cache',
    'pino',
    'prom-client',
    'reflect-metadata',
    'undici',
    'yaml',
  ])
    copyPackage(copy, name);
  cpSync(
    execFileSync('readlink', ['-f', join(ROOT, '.setup/node')], { encoding: 'utf8' }).trim(),
    join(copy, '.setup/node'),
  );
  return copy;
}

/** A package and what it needs, flat as npm lays them out. */
function copyPackage(copy: string, name: string): void {
  const target = join(copy, 'node_modules', name);
  try {
    if (readdirSync(target).length > 0) return;
  } catch {
    // Not copied yet.
  }
  const source = join(ROOT, 'node_modules', name);
  cpSync(source, target, { recursive: true });
  const { dependencies = {} } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  for (const needed of Object.keys(dependencies)) {
    try {
      copyPackage(copy, needed);
    } catch {
      // Nested below the package itself.
    }
  }
}

interface PodSpec {
  readonly labels?: Record<string, string>;
  readonly sidecar?: boolean;
  readonly backend?: 'nft' | 'iptables';
  readonly mode?: 'redirect' | 'nfqueue';
  readonly extra?: string;
}

/** A cluster of network namespaces whose pods have real sidecars, set up by the program's own commands. */
export class Cluster {
  readonly network: TestNetwork;
  readonly folder: string;
  readonly manifests: string;
  readonly program: string;
  readonly addresses = new Map<string, { four: string; six: string }>();
  readonly #specs = new Map<string, PodSpec>();
  readonly #sidecars = new Map<string, ChildProcess>();

  /** @param t whatever ends it: a test, or a program of its own */
  constructor(t: Pick<Test, 'teardown'>) {
    this.network = new TestNetwork(t);
    this.folder = mkdtempSync(join(tmpdir(), 'countersign-test-'));
    chmodSync(this.folder, 0o755);
    t.teardown(() => {
      this.network.close();
      rmSync(this.folder, { recursive: true, force: true });
    });
    this.manifests = join(this.folder, 'manifests');
    mkdirSync(this.manifests);
    this.program = readableProgram(this.folder);
    initTrustDomain('cluster.local', join(this.folder, 'trust'), false);
    this.write(
      'cluster.yaml',
      [
        'apiVersion: v1\nkind: Namespace\nmetadata: {name: demo, labels: {team: demo}}',
        'apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nspec: {podCIDRs: [10.99.0.0/17, "fd99::/113"]}\nstatus: {addresses: [{type: InternalIP, address: 10.99.255.254}]}',
      ].join('\n---\n'),
    );
  }

  /** Writes a manifest as an editor would: whole or not at all. */
  write(name: string, text: string): void {
    const file = join(this.manifests, name);
    writeFileSync(`${file}.new`, text);
    cpSync(`${file}.new`, file);
    rmSync(`${file}.new`);
  }

  remove(name: string): void {
    rmSync(join(this.manifests, name), { force: true });
  }

  /** Adds a pod; its sidecar is started with {@link startSidecar}. */
  pod(name: string, spec: PodSpec = {}): { four: string; six: string } {
    const address = this.network.host(name);
    this.addresses.set(name, address);
    this.#specs.set(name, spec);
    this.describe(name, spec.labels ?? {});
    return address;
  }

  describe(name: string, labels: Record<string, string>): void {
    const spec = this.#specs.get(name)!;
    const { four, six } = this.addresses.get(name)!;
    const all = { ...labels, ...(spec.sidecar === false ? {} : { 'countersign.io/inject': 'true' }) };
    const annotations = { 'countersign.io/data-path': spec.mode ?? 'redirect' };
    this.write(
      `pod-${name}.yaml`,
      `apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: demo, uid: uid-${name}, labels: ${JSON.stringify(all)}, annotations: ${JSON.stringify(annotations)}}
spec: {nodeName: node-1, serviceAccountName: default, containers: [{name: app, image: none}]${spec.extra ?? ''}}
status: {phase: Running, podIPs: [{ip: ${four}}, {ip: "${six}"}]}
`,
    );
  }

  async startSidecars(...names: string[]): Promise<void> {
    await Promise.all(names.map((name) => this.startSidecar(name)));
  }

  async startSidecar(name: string, flags: readonly string[] = []): Promise<void> {
    await this.issueIdentity(name);
    await this.applyRules(name);
    this.launch(name, flags);
    await this.ready(name);
  }

  /** Writes the identity that {@link launch} hands to the sidecar. */
  async issueIdentity(name: string): Promise<void> {
    const keys = join(this.folder, 'keys', name);
    const { pod, namespaceLabels } = await findPod(this.manifests, `demo/${name}`);
    await issueIdentity(join(this.folder, 'trust/issuer.jwk'), pod, namespaceLabels, 3600, keys);
    for (const file of readdirSync(keys)) chownSync(join(keys, file), PROXY_UID, PROXY_UID);
  }

  /** A sidecar that takes pods, policies and identity from where the flags say. */
  async startSidecarWith(name: string, flags: readonly string[]): Promise<void> {
    await this.applyRules(name);
    this.#launch(name, flags);
    await this.ready(name);
  }

  async applyRules(name: string): Promise<void> {
    const { mode } = this.#specs.get(name)!;
    const flags = mode === 'nfqueue' ? ['--mode', mode] : this.#backend(name);
    const { status, complaint } = await this.countersign(name, 'redirect', 'apply', ...flags);
    if (status !== 0) throw new Error(`redirect apply in ${name}: ${complaint}`);
  }

  /** @param capabilities that the sidecar has besides those that its mode needs */
  launch(name: string, flags: readonly string[] = [], capabilities: readonly string[] = []) {
    const keys = join(this.folder, 'keys', name);
    return this.#launch(
      name,
      [
        ...['--manifests', this.manifests],
        ...['--token', join(keys, 'token.jwt'), '--key', join(keys, 'key.jwk')],
        ...['--trust', join(this.folder, 'trust/trust.jwks')],
        ...flags,
      ],
      capabilities,
    );
  }

  #launch(name: string, flags: readonly string[], capabilities: readonly string[] = []): ChildProcess {
    writeFileSync(this.#flowFile(name), '', { flag: 'a' });
    chownSync(this.#flowFile(name), PROXY_UID, PROXY_UID);
    const isQueued = this.#specs.get(name)!.mode === 'nfqueue';
    const keys = join(this.folder, 'keys', name);
    if (isQueued) {
      mkdirSync(keys, { recursive: true });
      chownSync(keys, PROXY_UID, PROXY_UID);
    }
    const child = this.network.start(
      name,
      [
        join(this.program, 'bin/countersign'),
        'proxy',
        ...['--pod', `demo/${name}`],
        ...['--flow-log', this.#flowFile(name), '--redirect-probe-interval', '0.3'],
        ...(isQueued ? ['--mode', 'nfqueue', '--flow-state', join(keys, 'flows')] : []),
        ...flags,
      ],
      PROXY_UID,
      [...(isQueued ? ['net_admin', 'net_raw'] : []), ...capabilities],
    );
    this.#sidecars.set(name, child);
    const log = join(this.folder, `${name}.log`);
    child.stderr!.on('data', (chunk: Buffer) => {
      // What a sidecar says while the test takes everything away belongs to nobody.
      if (existsSync(this.folder)) appendFileSync(log, chunk);
    });
    child.stdout!.resume();
    return child;
  }

  /** Takes a process that was started otherwise for the sidecar of a pod. */
  adopt(name: string, child: ChildProcess): void {
    this.#sidecars.set(name, child);
  }

  sidecar(name: string): ChildProcess {
    return this.#sidecars.get(name)!;
  }

  sidecarPid(name: string): number {
    return this.#sidecars.get(name)!.pid!;
  }

  /** Ends a sidecar. @returns its exit status, or the signal that ended it */
  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<number | NodeJS.Signals | null> {
    const child = this.#sidecars.get(name)!;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
    return child.exitCode ?? child.signalCode;
  }

  log(name: string): string {
    return readFileSync(join(this.folder, `${name}.log`), 'utf8');
  }

  async ready(name: string, wanted = true): Promise<string> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      const { out } = await this.curl(name, 'http://127.0.0.1:14020/readyz');
      if (out.startsWith('ready') === wanted && out !== '') return out;
      if (Date.now() > deadline)
        throw new Error(`${name} is ${wanted ? 'not ' : ''}ready: ${out}\n${this.log(name)}`);
      await sleep(50);
    }
  }

  async countersign(name: string, ...command: string[]): Promise<Ran> {
    return this.network.run(name, [join(this.program, 'bin/countersign'), ...command], { timeoutMs: 60_000 });
  }

  /** A Node.js program as the pod's application. Resolves when it says that it is there, on its first line. */
  async app(name: string, source: string): Promise<void> {
    const child = this.network.start(name, [join(this.program, '.setup/node'), '-e', source], APP_UID);
    let complaint = '';
    child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    await new Promise<void>((resolve, reject) => {
      child.stdout!.once('data', () => resolve());
      child.once('close', () => reject(new Error(`the application of ${name} ended: ${complaint}`)));
    });
  }

  curl(name: string, url: string, ...flags: string[]): Promise<Ran> {
    return this.network.run(name, ['curl', '-sS', '--max-time', '5', ...flags, url]);
  }

  async node(name: string, source: string, timeoutMs = 60_000): Promise<Ran> {
    return this.network.run(name, [join(this.program, '.setup/node'), '-e', source], { timeoutMs });
  }

  flows(name: string): FlowRecord[] {
    return readFileSync(this.#flowFile(name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as FlowRecord);
  }

  /** Waits for a flow record. */
  async flow(name: string, matches: (record: FlowRecord) => boolean): Promise<FlowRecord> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      const found = this.flows(name).find(matches);
      if (found !== undefined) return found;
      if (Date.now() > deadline)
        throw new Error(`no such flow: ${JSON.stringify(this.flows(name), undefined, 1)}`);
      await sleep(20);
    }
  }

  /** The connection counter of a pod, by its labels joined with blanks. */
  async counts(name: string): Promise<Record<string, number>> {
    const { out } = await this.curl(name, 'http://127.0.0.1:14020/metrics');
    const counts: Record<string, number> = {};
    for (const match of out.matchAll(/^countersign_connections_total\{(.*)\} (\d+)$/gm)) {
      const labels = [...match[1]!.matchAll(/="([^"]*)"/g)].map((label) => label[1]);
      counts[labels.join(' ')] = Number(match[2]);
    }
    return counts;
  }

  #backend(name: string): string[] {
    const { backend } = this.#specs.get(name)!;
    return backend === undefined ? [] : ['--backend', backend];
  }

  #flowFile(name: string): string {
    return join(this.folder, `${name}.flow`);
  }
}

/** An HTTP server that answers everything and says its name. */
export const HTTP_APP = (name: string, port = 8080): string => `
require('http').createServer((q, r) => r.end('${name} got ' + q.url + '\\n'))
  .listen(${port}, '::', () => console.log('up'))`;

/** Isolates the pods with `app` and lets in who has the label. */
export const ALLOW_LABEL = (app: string, key: string, value: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ${app}, namespace: demo}
spec:
  podSelector: {matchLabels: {app: ${app}}}
  ingress:
  - from:
    - podSelector: {matchLabels: {${key}: "${value}"}}
`;
