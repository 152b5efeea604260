import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { TokenFile } from '../../src/kube/credential.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { KubernetesSource } from '../../src/sources/kubernetes-source.ts';
import { podToken } from '../support/api-contract.ts';
import { KubeControlPlane } from '../support/kube-control-plane.ts';
import { until } from '../support/until.ts';

t.setTimeout(600_000);

const POLICIES = '/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies';
const RBAC = join(import.meta.dirname, '../../manifests/kubernetes-source-rbac.yaml');
const policy = (name: string, round = 0): object => ({
  metadata: { name },
  spec: { podSelector: { matchLabels: { round: `r${round}` } }, policyTypes: ['Ingress'] },
});

t.test('the kubernetes source on a real API server', { timeout: 590_000 }, async (t) => {
  const plane = await KubeControlPlane.start(t);
  const admin = plane.client();
  await admin.create('/api/v1/namespaces', { metadata: { name: 'shop' } });
  await plane.kubectl(['apply', '-f', RBAC]);
  const { token, uid } = await podToken(admin, 'shop', []);
  await admin.create(POLICIES, policy('always'));
  const tokenFile = join(plane.folder, 'token');
  writeFileSync(tokenFile, token);
  const source = new KubernetesSource({
    server: { url: plane.url, caFile: plane.caFile, credential: new TokenFile(tokenFile) },
    pod: 'shop/app-1',
    mode: 'enforce',
    timing: { backoff: { firstMs: 50, mostMs: 2_000 }, silenceMs: 4_000 },
  });
  t.teardown(() => source.close());
  await source.start();
  const names = (): string[] => source.snapshot!.policies.map(({ name }) => name).toSorted();

  t.test(
    'starts with exactly the rights of the manifest, which allow no Secret and no writing',
    async (t) => {
      t.match(source.snapshot!.self, { name: 'app-1', uid, labels: { app: 'web' } });
      t.strictSame(names(), ['always']);
      t.strictSame(source.problems, []);
      const client = plane.client(token);
      await t.rejects(client.get('/api/v1/namespaces/shop/secrets'), {
        message: /cannot list resource "secrets"/,
      });
      await t.rejects(client.get('/api/v1/secrets'), { message: /cannot list resource "secrets"/ });
      await t.rejects(client.get('/apis/networking.k8s.io/v1/networkpolicies'), { message: /cannot list/ });
      await t.rejects(client.create(POLICIES, policy('x')), { message: /cannot create/ });
      await t.rejects(client.get('/api/v1/namespaces/kube-system/configmaps'), { message: /cannot list/ });
    },
  );

  t.test(
    'never loses a policy, and ends up with the newest, whatever the server goes through',
    { timeout: 400_000 },
    async (t) => {
      const seen: string[][] = [];
      source.subscribe(() => seen.push(names()));
      const writer = new Writer(admin);
      const ordeals: [string, () => Promise<void>][] = [
        ['killed and started anew', () => plane.restart()],
        ['compacted', () => plane.compact()],
        ['compacted, killed and started anew', () => plane.compact().then(() => plane.restart())],
        ['stopped for a while', () => pause(plane, source)],
      ];
      for (const [ordeal, run] of ordeals) {
        await writer.writes(20);
        await run();
        await writer.writes(20);
        const newest = writer.round;
        await until(`the newest is in force after it was ${ordeal}`, () =>
          JSON.stringify(source.snapshot!.policies).includes(`"r${newest}"`),
        );
        await until('it is well', () => source.problems.length === 0);
        t.pass(ordeal);
      }
      t.ok(seen.length > 10);
      t.ok(
        seen.every((one) => one.includes('always')),
        'no state was ever without the policy that was always there',
      );
    },
  );
});

/** Stops the server's process: connections stay open and nothing comes. */
async function pause(plane: KubeControlPlane, source: KubernetesSource): Promise<void> {
  await plane.signal('SIGSTOP');
  const { confirmedAt } = source;
  try {
    await until('the watches are given up', () => source.problems.length > 0);
  } finally {
    await plane.signal('SIGCONT');
  }
  if (source.confirmedAt! < confirmedAt!) throw new Error('its age went back');
}

/** Changes one policy again and again; a write that the server did not take is repeated. */
class Writer {
  round = 0;
  readonly #admin: ApiClient;

  constructor(admin: ApiClient) {
    this.#admin = admin;
  }

  async writes(count: number): Promise<void> {
    for (let index = 0; index < count; index++) {
      const next = ++this.round;
      await until(`write ${next} succeeds`, () => this.#write(next));
    }
  }

  async #write(round: number): Promise<boolean> {
    const options = {
      query: { fieldManager: 'test', force: 'true' },
      contentType: 'application/apply-patch+yaml',
    };
    const body = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', ...policy('changing', round) };
    return this.#admin.request('PATCH', `${POLICIES}/changing`, { ...options, body }).then(
      () => true,
      () => false,
    );
  }
}
