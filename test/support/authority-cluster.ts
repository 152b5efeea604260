import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { NODE, rawNamespace, rawPod } from '../authority/cluster.ts';
import { Cluster } from './sidecars.ts';

const AUTHORITY = '10.99.255.254';
const PROGRAM = join(import.meta.dirname, 'authority-world.ts');

export interface AuthorityClusterOptions {
  readonly trustDomain?: string;
  /** An address of the network's router under which other clusters reach the authority. */
  readonly outside?: string;
}

/** Pods with real sidecars that know nothing but an authority; the API server behind it is in the test's hands. */
export class AuthorityCluster {
  readonly cluster: Cluster;
  readonly caFile: string;
  readonly federationFile: string;
  readonly #answers: AsyncIterator<string>;
  readonly #input: NodeJS.WritableStream;
  readonly #modes = new Map<string, 'redirect' | 'nfqueue'>();

  private constructor(cluster: Cluster, { trustDomain, outside }: AuthorityClusterOptions) {
    this.cluster = cluster;
    this.caFile = join(cluster.folder, 'authority.pem');
    this.federationFile = join(cluster.folder, 'federation.yaml');
    const node = join(cluster.program, '.setup/node');
    const child = cluster.network.start('switch', [
      node,
      PROGRAM,
      JSON.stringify({
        address: AUTHORITY,
        caFile: this.caFile,
        federationFile: this.federationFile,
        trustDomain: trustDomain ?? 'cluster.local',
        ...(outside === undefined ? {} : { outside }),
      }),
    ]);
    child.stderr!.pipe(process.stderr);
    this.#input = child.stdin!;
    this.#answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(
    t: Pick<Test, 'teardown'>,
    options: AuthorityClusterOptions = {},
    cluster = new Cluster(t),
  ): Promise<AuthorityCluster> {
    const made = new AuthorityCluster(cluster, options);
    await made.#answers.next();
    await made.put(rawNamespace('demo', { team: 'demo' }));
    await made.put(rawNamespace('countersign-system'));
    await made.put({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { namespace: 'demo', name: 'default' },
    });
    await made.put({ ...NODE, spec: { podCIDRs: ['10.99.0.0/17'] } });
    return made;
  }

  put(object: object): Promise<void> {
    return this.tell({ put: object });
  }

  async tell(wish: object): Promise<void> {
    this.#input.write(`${JSON.stringify(wish)}\n`);
    await this.#answers.next();
  }

  describe(name: string, labels: Record<string, string>): Promise<void> {
    const { four } = this.cluster.addresses.get(name)!;
    const pod = rawPod(name, { namespace: 'demo', address: four, labels }) as { metadata: object };
    const annotations = { 'countersign.io/data-path': this.#modes.get(name)! };
    return this.put({ ...pod, metadata: { ...pod.metadata, annotations } });
  }

  async pod(
    name: string,
    labels: Record<string, string>,
    mode: 'redirect' | 'nfqueue' = 'redirect',
  ): Promise<string> {
    this.#modes.set(name, mode);
    const { four } = this.cluster.pod(name, { mode });
    await this.describe(name, labels);
    const token = join(this.cluster.folder, `${name}.token`);
    await this.tell({ token: { pod: name, file: token } });
    await this.cluster.startSidecarWith(name, [
      ...['--source', 'authority', '--authority', `https://${AUTHORITY}:14443`],
      ...['--authority-ca', this.caFile, '--service-account-token', token],
    ]);
    return four;
  }

  /** Says whom the authority believes; without entries the file goes. */
  federate(...entries: object[]): void {
    if (entries.length === 0) rmSync(this.federationFile, { force: true });
    else writeFileSync(this.federationFile, JSON.stringify({ federation: entries }));
  }
}
