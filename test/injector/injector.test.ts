import { Agent, request } from 'undici';
import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { CA_ROTATION } from '../../src/certificates/authority-state.ts';
import { ServingCertificates } from '../../src/certificates/serving-certificates.ts';
import { askingPods } from '../../src/injector/asking-pods.ts';
import { Injector } from '../../src/injector/injector.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { namespace, pod, SETTINGS } from '../inject/samples.ts';
import { until } from '../support/until.ts';
import { StoredObject } from '../support/shared-objects.ts';

const NAME = 'countersign-injector.countersign-system.svc';

/** The four requests that an injector makes, with what came of them. */
class FakeCluster {
  readonly events: object[] = [];
  readonly webhooks = [{ name: 'own.countersign.io', clientConfig: {} as { caBundle?: string } }];
  pods: object[] = [];
  broken = false;
  annotations: Record<string, string> = {};
  get client(): ApiClient {
    return {
      get: async (path: string) => this.#get(path),
      create: async (_path: string, object: object) => this.events.push(object),
      request: async (
        _method: string,
        _path: string,
        { body }: { body: { op: string; value: string }[] },
      ) => {
        const added = body.find(({ op }) => op === 'add');
        if (added !== undefined) this.webhooks[0]!.clientConfig.caBundle = added.value;
      },
    } as unknown as ApiClient;
  }
  #get(path: string): object {
    if (this.broken) throw new Error('the API server cannot be reached');
    if (path === '/api/v1/pods') return { items: this.pods };
    if (path.includes('webhookconfigurations')) return { webhooks: this.webhooks };
    return { metadata: { ...namespace(), annotations: this.annotations } };
  }
  get bundle(): string {
    return Buffer.from(this.webhooks[0]!.clientConfig.caBundle ?? '', 'base64').toString();
  }
}

async function started(t: Test, ago = 0, cluster = new FakeCluster()) {
  let seconds = Date.now() / 1000 - ago;
  const stored = new StoredObject();
  const certificates = new ServingCertificates({
    object: stored.handle(),
    names: [NAME],
    now: () => seconds,
  });
  const prepared: string[] = [];
  const kept: string[] = [];
  const injector = new Injector({
    client: cluster.client,
    certificates,
    settings: SETTINGS,
    release: '1.0.0',
    listen: { address: '::', port: 0 },
    webhookName: 'countersign',
    prepareNamespace: async (name) => void prepared.push(name),
    keepNamespaces: async (names) => void kept.push(...names),
    log: { info: () => {}, warn: () => {}, error: () => {} },
  });
  const port = await injector.start();
  t.teardown(() => injector.close());
  const post = async (path: string, body: string | object, ca = cluster.bundle) => {
    const agent = new Agent({ connect: { ca, servername: NAME } });
    try {
      const answer = await request(`https://127.0.0.1:${port}${path}`, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        dispatcher: agent,
      });
      return { status: answer.statusCode, text: await answer.body.text() };
    } finally {
      await agent.close();
    }
  };
  return {
    cluster,
    certificates,
    injector,
    prepared,
    kept,
    post,
    port,
    advance: (by: number) => (seconds += by),
  };
}

const review = (object: object): object => ({
  apiVersion: 'admission.k8s.io/v1',
  kind: 'AdmissionReview',
  request: {
    uid: 'u',
    resource: { group: '', resource: 'pods' },
    namespace: 'shop',
    operation: 'CREATE',
    object,
  },
});

t.test('injector: answers a review over TLS that the webhook configuration believes', async (t) => {
  const { cluster, injector, post, prepared } = await started(t);
  t.match(cluster.bundle, /BEGIN CERTIFICATE/);
  t.equal(injector.problem, undefined, 'ready');
  const { status, text } = await post('/inject', review(pod()));
  t.equal(status, 200);
  t.match(JSON.parse(text), { response: { uid: 'u', allowed: true, patchType: 'JSONPatch' } });
  t.strictSame(prepared, ['shop'], 'the namespace has what its sidecars need before the pod is there');
  t.match((await injector.metrics.text()).body, 'countersign_injector_reviews_total{outcome="injected"} 1');
});

t.test('injector: a grant counts from the next pod on', async (t) => {
  const { cluster, post } = await started(t);
  const asks = pod({}, { annotations: { 'countersign.io/mode': 'audit' } });
  t.match(JSON.parse((await post('/inject', review(asks))).text), { response: { allowed: false } });
  cluster.annotations = { 'countersign.io/grants': 'audit' };
  t.match(JSON.parse((await post('/inject', review(asks))).text), { response: { allowed: true } });
});

t.test(
  "injector: whoever writes the authority's certificates in his namespace is refused, with a sentence",
  async (t) => {
    const { post } = await started(t);
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'countersign-ca' } };
    const asked = { uid: 'u-7', resource: { group: '', version: 'v1', resource: 'configmaps' }, object: map };
    const { status, text } = await post('/bundle', { ...review(pod()), request: asked });
    t.equal(status, 200);
    t.match(JSON.parse(text), {
      response: {
        uid: 'u-7',
        allowed: false,
        status: { code: 403, message: /believe the authority.*leave it alone/ },
      },
    });
    t.equal((await post('/bundle', {})).status, 500, 'and what is no review is not admitted either');
  },
);

t.test(
  'injector: an API server that is away, a wrong path, method or body: no pod is let through',
  async (t) => {
    const { cluster, post, injector } = await started(t);
    cluster.broken = true;
    t.equal(
      (await post('/inject', review(pod()))).status,
      500,
      'which failurePolicy: Fail turns into a refusal',
    );
    cluster.broken = false;
    t.equal((await post('/', review(pod()))).status, 404);
    t.equal((await post('/__proto__', review(pod()))).status, 404);
    t.equal((await post('/inject', 'x')).status, 400);
    t.equal((await post('/inject', {})).status, 500);
    t.equal((await post('/inject', `"${'x'.repeat((4 << 20) + 1)}"`)).status, 413);
    t.equal((await post('/inject', review(pod()))).status, 200, 'and it goes on to answer');
    t.match((await injector.metrics.text()).body, /reviews_total\{outcome="failed"\} 2/);
  },
);

t.test(
  'injector: certificates rotate past the end of the first authority, always believed by the configuration',
  async (t) => {
    // The clock begins two periods ago, so that it ends where the client's is.
    const { cluster, certificates, post, advance } = await started(
      t,
      2 * CA_ROTATION.period + CA_ROTATION.life,
    );
    const first = cluster.bundle;
    const bundles = new Set<string>();
    const step = 8 * 3_600;
    for (let passed = 0; passed < 2 * CA_ROTATION.period + CA_ROTATION.life; passed += step) {
      advance(step);
      await certificates.look();
      // Patching is not waited for by who is told of a change.
      await until('the new bundle', () => cluster.bundle === certificates.bundle);
      const serving = new X509Certificate(certificates.serving.certificate);
      const authorities = cluster.bundle
        .split(/(?<=-----END CERTIFICATE-----\n)/)
        .map((pem) => new X509Certificate(pem));
      if (!authorities.some((one) => serving.verify(one.publicKey))) t.fail(`not believed after ${passed} s`);
      bundles.add(cluster.bundle);
    }
    t.ok(bundles.size >= 4, 'the next authority is published before it signs, the former one stays a while');
    t.notOk(cluster.bundle.includes(first), 'the first authority is forgotten');
    t.equal((await post('/inject', review(pod()))).status, 200);
  },
);

t.test('injector: pods that ask for a sidecar and have none are counted', async (t) => {
  const cluster = new FakeCluster();
  cluster.pods = [
    {
      metadata: { namespace: 'shop', name: 'naked' },
      spec: { containers: [{ name: 'web' }] },
      status: { phase: 'Running' },
    },
    {
      metadata: { namespace: 'bar', name: 'dressed' },
      spec: { containers: [], initContainers: [{ name: 'countersign-proxy' }] },
    },
    {
      metadata: { namespace: 'shop', name: 'done' },
      spec: { containers: [] },
      status: { phase: 'Succeeded' },
    },
  ];
  const { uninjected, enrolled } = await askingPods(cluster.client);
  t.strictSame(uninjected, ['shop/naked']);
  t.strictSame([...enrolled], ['bar']);
  const { kept } = await started(t, 0, cluster);
  t.strictSame(kept, ['bar'], 'namespaces with sidecars are kept up, whoever put the sidecars there');
});

t.test('injector: a client that speaks no TLS, or says nothing, holds nothing up', async (t) => {
  const { post, port, cluster } = await started(t);
  const silent = connect({ port, host: '127.0.0.1', ca: cluster.bundle, servername: NAME });
  await once(silent, 'secureConnect');
  t.equal((await post('/inject', review(pod()))).status, 200);
  silent.destroy();
});

t.test('injector: whatever somebody asks who is not the API server, it goes on', async (t) => {
  const { post, cluster } = await started(t);
  const lost: unknown[] = [];
  const notice = (error: unknown): number => lost.push(error);
  process.on('unhandledRejection', notice);
  t.teardown(() => process.off('unhandledRejection', notice));
  const controller = true;
  const owners = [{ controller, kind: 5, name: 'x' }, { controller, kind: 'x', name: 5 }, null, 5];
  for (const ownerReferences of [5, 'x', {}, ...owners.map((one) => [one])]) {
    const asks = { ...pod({ hostPID: true }), metadata: { ...pod().metadata, ownerReferences } };
    t.match(JSON.parse((await post('/inject', review(asks as never))).text), {
      response: { allowed: false },
    });
  }
  for (const place of ['..', '.', 'a/b', 'shop/../bank', '', 'Shop', 'x'.repeat(64)]) {
    const asked = review(pod()) as { request: object };
    const body = { ...asked, request: { ...asked.request, namespace: place } };
    t.equal((await post('/inject', body)).status, 500, JSON.stringify(place));
  }
  t.equal((await post('/inject', review(pod()))).status, 200);
  t.strictSame(lost, []);
  t.strictSame(cluster.events, []);
});
