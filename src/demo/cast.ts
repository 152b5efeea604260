import {
  appendFileSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { initTrustDomain, issueIdentity } from '../identity/files.ts';
import type { FlowRecord } from '../observe/record.ts';
import { PolicySet } from '../policy/compile.ts';
import { buildDirectory } from '../peers/table.ts';
import type { Pod } from '../peers/directory.ts';
import { DEFAULT_PROXY_UID, METRICS_PORT } from '../redirect/ports.ts';
import { type ClusterContents, contentsOf } from '../sources/cluster-contents.ts';
import { DATA_PATH_KEY } from '../sources/objects-pod.ts';
import { listFolder, problemText, readManifestFile } from '../sources/manifest-folder.ts';
import type { Report } from './report.ts';
import { countersign, node, PATIENCE_MS, programFile, STATE, type World } from './world.ts';

const APP_UID = 1_000;
export const NAMESPACE = 'pub';
export const BEER_PORT = 8080;
/** Who is attacked with: enrolled, but nobody starts its sidecar. */
const WITHOUT_SIDECAR = 'mallory';

/** The pods of the demo with their sidecars and applications, and the folder of manifests that the sidecars watch. */
export class Cast {
  readonly world: World;
  readonly watched = join(STATE, 'manifests');
  readonly keys = join(STATE, 'keys');
  readonly mode: 'redirect' | 'nfqueue';
  readonly #original: string;
  #contents: ClusterContents | undefined;

  /** @param original folder of manifests to play with; it is copied */
  constructor(world: World, original: string, mode: 'redirect' | 'nfqueue') {
    this.world = world;
    this.mode = mode;
    this.#original = original;
  }

  /** Copies the manifests, but for the policy, and reads who plays. */
  async read(): Promise<void> {
    mkdirSync(this.watched, { recursive: true });
    if (!existsSync(this.policyFile)) {
      throw new UserError(`${this.policyFile} is missing: the demo puts that policy in force`);
    }
    const files = await Promise.all(
      (await listFolder(this.#original)).map((entry) => readManifestFile(entry)),
    );
    const [problem] = files.flatMap((file) => file.problems);
    if (problem !== undefined) throw new UserError(problemText(problem));
    this.#contents = contentsOf(files.flatMap((file) => file.objects));
    for (const name of readdirSync(this.#original)) {
      if (name !== 'policy.yaml')
        cpSync(join(this.#original, name), join(this.watched, name), { recursive: true });
    }
    if (this.mode === 'nfqueue') {
      for (const name of readdirSync(this.watched)) announceQueues(join(this.watched, name));
    }
    for (const name of [
      'beer-0',
      'beer-1',
      'beer-2',
      'approved',
      'unapproved',
      'no-sidecar',
      WITHOUT_SIDECAR,
    ]) {
      this.pod(name);
    }
  }

  get policyFile(): string {
    return join(this.#original, 'policy.yaml');
  }

  get pods(): readonly Pod[] {
    return this.#contents!.pods.map(({ pod }) => pod);
  }

  pod(name: string): Pod {
    const found = this.pods.find((pod) => pod.namespace === NAMESPACE && pod.name === name);
    if (found !== undefined) return found;
    throw new UserError(`${this.#original} has no pod ${NAMESPACE}/${name}: the demo needs it`);
  }

  get sidecars(): readonly Pod[] {
    return this.pods.filter((pod) => pod.enrolled && pod.name !== WITHOUT_SIDECAR);
  }

  /** Labels of the demo's namespace. */
  get namespaceLabels(): Readonly<Record<string, string>> {
    return this.#contents!.namespaces.find(({ name }) => name === NAMESPACE)?.labels ?? {};
  }

  address(name: string): string {
    return this.pod(name).addresses[0]!;
  }

  /** What the policy engine, asked directly, says about a proven pod that wants a beer. */
  mayDrink(name: string): boolean {
    const contents = this.#contents!;
    const beer = this.pod('beer-0');
    const pod = this.pod(name);
    const engine = new PolicySet(contents.policies).forPod({
      namespace: beer.namespace,
      labels: beer.labels,
      namedPorts: beer.ports,
    });
    const { allow } = engine.evaluate({
      direction: 'inbound',
      protocol: 'TCP',
      port: BEER_PORT,
      peer: {
        kind: 'proven',
        address: pod.addresses[0]!,
        namespace: pod.namespace,
        labels: pod.labels,
        namespaceLabels: buildDirectory(contents).namespaceLabels(pod.namespace),
      },
    });
    return allow;
  }

  /** Namespaces, identities, rules, sidecars and applications, all of them up. */
  async start(report: Report): Promise<void> {
    report.progress(`pods: ${this.pods.map((pod) => pod.name).join(', ')}`);
    for (const pod of this.pods) this.world.addPod(pod.name, pod.addresses);
    report.progress('identities, netfilter rules, sidecars');
    initTrustDomain('cluster.local', join(this.keys, 'trust'), true);
    await Promise.all(this.sidecars.map((pod) => this.#startSidecar(pod)));
    const beers = this.pods.filter((pod) => pod.name.startsWith('beer-'));
    await Promise.all(beers.map((pod) => this.#startBeer(pod.name)));
    await Promise.all(this.sidecars.map((pod) => this.#ready(pod.name)));
  }

  /** Files of a pod's identity. */
  identity(name: string): { token: string; key: string; trust: string } {
    return {
      token: join(this.keys, name, 'token.jwt'),
      key: join(this.keys, name, 'key.jwk'),
      trust: join(this.keys, 'trust/trust.jwks'),
    };
  }

  /** Puts a file into the watched folder, whole, or takes it away. */
  publish(name: string, text: string | undefined): void {
    const file = join(this.watched, name);
    if (text === undefined) {
      rmSync(file, { force: true });
      return;
    }
    writeFileSync(join(this.watched, `.${name}`), text);
    renameSync(join(this.watched, `.${name}`), file);
  }

  /** Waits until every sidecar has taken in what was published: their policy versions have grown. */
  async published(change: () => void): Promise<void> {
    const before = await this.#versions();
    change();
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const now = await this.#versions();
      if (now.every((version, index) => version > before[index]!)) return;
      if (Date.now() > deadline) {
        throw new UserError(`the sidecars did not take in a change within ${PATIENCE_MS / 1_000} s`, {
          exitCode: EXIT.failure,
        });
      }
      await sleep(50);
    }
  }

  /** The Prometheus page of a pod. */
  async metrics(name: string): Promise<string> {
    const url = `http://127.0.0.1:${METRICS_PORT}/metrics`;
    return (await this.world.run(name, ['curl', '-sS', '--max-time', '60', url])).out;
  }

  flows(name: string): FlowRecord[] {
    return readFileSync(this.#flowFile(name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as FlowRecord);
  }

  /** All records of the beer pods so far, to tell later ones from them. */
  beerFlows(): FlowRecord[] {
    return this.sidecars.filter((pod) => pod.name.startsWith('beer-')).flatMap((pod) => this.flows(pod.name));
  }

  /** The record that a beer pod writes about somebody, waiting a moment for it. */
  async newBeerFlow(address: string, known: number): Promise<FlowRecord | undefined> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const flows = this.beerFlows()
        .toSorted((a, b) => a.time.localeCompare(b.time))
        .filter((flow) => flow.source.address === address);
      if (flows.length > known) return flows.at(-1);
      if (Date.now() > deadline) return undefined;
      await sleep(20);
    }
  }

  async #startSidecar(pod: Pod): Promise<void> {
    const { name } = pod;
    const { token, key, trust } = this.identity(name);
    const labels = buildDirectory(this.#contents!).namespaceLabels(pod.namespace);
    await issueIdentity(join(this.keys, 'trust/issuer.jwk'), pod, labels, 3_600, join(this.keys, name));
    for (const file of [token, key]) chownSync(file, DEFAULT_PROXY_UID, DEFAULT_PROXY_UID);
    const applied = await this.world.run(name, countersign('redirect', 'apply', '--mode', this.mode));
    if (applied.status !== 0) {
      const why = applied.complaint.trim() || `it did not end within ${PATIENCE_MS / 1_000} s`;
      throw new UserError(`redirect apply in ${name}: ${why}`, { exitCode: EXIT.failure });
    }
    writeFileSync(this.#flowFile(name), '');
    chownSync(this.#flowFile(name), DEFAULT_PROXY_UID, DEFAULT_PROXY_UID);
    const flags = ['--source', 'files', '--manifests', this.watched, '--pod', `${NAMESPACE}/${name}`];
    const files = ['--token', token, '--key', key, '--trust', trust, '--flow-log', this.#flowFile(name)];
    const queued = this.mode === 'nfqueue';
    if (queued) {
      chownSync(join(this.keys, name), DEFAULT_PROXY_UID, DEFAULT_PROXY_UID);
      flags.push('--mode', 'nfqueue', '--flow-state', join(this.keys, name, 'flows'));
    }
    const child = this.world.start(
      name,
      countersign('proxy', ...flags, ...files),
      DEFAULT_PROXY_UID,
      queued ? ['net_admin', 'net_raw'] : [],
    );
    child.stderr!.on('data', (chunk: Buffer) => appendFileSync(join(STATE, `${name}.log`), chunk));
    child.stdout!.resume();
  }

  async #startBeer(name: string): Promise<void> {
    const child = this.world.start(name, [...node(), programFile('src/demo/beer-server.ts'), name], APP_UID);
    let complaint = '';
    child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    await new Promise<void>((resolve, reject) => {
      child.stdout!.once('data', () => resolve());
      child.once('close', () =>
        reject(new UserError(`${name} does not pour: ${complaint}`, { exitCode: EXIT.failure })),
      );
    });
  }

  async #ready(name: string): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    const url = `http://127.0.0.1:${METRICS_PORT}/readyz`;
    for (;;) {
      const { out } = await this.world.run(name, ['curl', '-sS', '--max-time', '2', url]);
      if (out.startsWith('ready')) return;
      if (Date.now() > deadline) {
        throw new UserError(`the sidecar of ${name} is not ready: ${out.trim()}\n${this.#logTail(name)}`, {
          exitCode: EXIT.failure,
        });
      }
      await sleep(100);
    }
  }

  #logTail(name: string): string {
    try {
      return readFileSync(join(STATE, `${name}.log`), 'utf8')
        .split('\n')
        .slice(-10)
        .join('\n');
    } catch (error) {
      return messageOf(error);
    }
  }

  async #versions(): Promise<number[]> {
    const pages = await Promise.all(this.sidecars.map((pod) => this.metrics(pod.name)));
    return pages.map((page) => Number(/^countersign_policy_version (\d+)$/m.exec(page)?.[1] ?? -1));
  }

  #flowFile(name: string): string {
    return join(STATE, `${name}.flows`);
  }
}

/** Says of every pod in a file that it takes Hellos in SYNs. */
function announceQueues(file: string): void {
  if (!/\.ya?ml$/.test(file)) return;
  const documents = parseAllDocuments(readFileSync(file, 'utf8'));
  if (!Array.isArray(documents)) return;
  for (const document of documents) {
    if (document.get('kind') === 'Pod') document.setIn(['metadata', 'annotations', DATA_PATH_KEY], 'nfqueue');
  }
  writeFileSync(file, documents.map(String).join('---\n'));
}
