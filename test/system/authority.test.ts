import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { NODE, rawNamespace, rawPod, rawPolicy } from '../authority/cluster.ts';
import { cannotNetns } from '../support/netns.ts';
import { Cluster, HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const AUTHORITY = '10.99.255.254';
const PROGRAM = join(import.meta.dirname, '../support/authority-world.ts');

/** Pods with real sidecars that know nothing but an authority; the API server behind it is in the test's hands. */
class AuthorityCluster {
  readonly cluster: Cluster;
  readonly #answers: AsyncIterator<string>;
  readonly #input: NodeJS.WritableStream;
  readonly caFile: string;

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.caFile = join(cluster.folder, 'authority.pem');
    const node = join(cluster.program, '.setup/node');
    const child = cluster.network.start('switch', [node, PROGRAM, AUTHORITY, this.caFile]);
    child.stderr!.pipe(process.stderr);
    this.#input = child.stdin!;
    this.#answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(t: Test): Promise<AuthorityCluster> {
    const made = new AuthorityCluster(new Cluster(t));
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
    return this.put(rawPod(name, { namespace: 'demo', address: four, labels }));
  }

  async pod(name: string, labels: Record<string, string>): Promise<string> {
    const { four } = this.cluster.pod(name);
    await this.describe(name, labels);
    const token = join(this.cluster.folder, `${name}.token`);
    await this.tell({ token: { pod: name, file: token } });
    await this.cluster.startSidecarWith(name, [
      ...['--source', 'authority', '--authority', `https://${AUTHORITY}:14443`],
      ...['--authority-ca', this.caFile, '--service-account-token', token],
    ]);
    return four;
  }
}

const ALLOW_WEB = rawPolicy('db', { app: 'db' }, 'demo', {
  ingress: [{ from: [{ podSelector: { matchLabels: { role: 'web' } } }] }],
});

t.test(
  'authority, with real sidecars: labels decide, a change of labels cuts what is open, and an outage refuses nobody',
  { skip: cannotNetns(), timeout: 240_000 },
  async (t) => {
    const world = await AuthorityCluster.start(t);
    await world.put(ALLOW_WEB);
    const db = await world.pod('db', { app: 'db' });
    await world.pod('web', { role: 'web' });
    await world.pod('guest', { role: 'guest' });
    const { cluster } = world;
    await cluster.app('db', HTTP_APP('db'));
    const call = async (from: string): Promise<boolean> =>
      (await cluster.curl(from, `http://${db}:8080/`)).out.includes('db got');

    t.ok(await call('web'), 'the first call of all, to an address that nobody had asked about');
    t.notOk(await call('guest'));
    const denied = await cluster.flow('db', (flow) => flow.verdict === 'deny');
    t.match(denied, { reason: 'policy-denied', peer: 'proven' });

    // A connection that stays open, and sessions that would be resumed.
    const open = cluster.network.start('web', [
      join(cluster.program, '.setup/node'),
      '-e',
      `require('net').connect(8080, '${db}').on('connect', () => console.log('up')).on('close', () => console.log('cut')).on('error', () => {})`,
    ]);
    const lines = createInterface({ input: open.stdout! })[Symbol.asyncIterator]();
    t.equal((await lines.next()).value, 'up');
    await until('it is relayed', () => cluster.flows('db').some((flow) => flow.verdict === 'allow'));
    await world.describe('web', { role: 'other' });
    t.equal((await lines.next()).value, 'cut');
    t.notOk(await call('web'), 'nor is a new one let in');
    await world.describe('web', { role: 'web' });
    await until('it is let in again', () => call('web'));

    await world.tell({ authority: 'stop' });
    await until('the sidecar has noticed', async () =>
      (await cluster.curl('web', 'http://127.0.0.1:14020/readyz')).out.includes('last state stays'),
    );
    t.ok(await call('web'), 'without an authority');
    t.notOk(await call('guest'), 'and it widens nothing');
    await world.tell({ authority: 'start' });
    await world.describe('guest', { role: 'web' });
    await until('news arrive again', () => call('guest'));
  },
);
