import t from 'tap';
import { webhookObjects } from '../../src/install/webhooks.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { KubeControlPlane } from '../support/kube-control-plane.ts';
import { until } from '../support/until.ts';

t.setTimeout(600_000);
const [INJECTOR, TENANT] = ['injector-token', 'tenant-token'];
const NAME = 'authority-ca';

t.test(
  "the authority's certificates in a namespace are the injector's to write, on a real API server",
  async (t) => {
    const account = 'system:serviceaccount:zone:countersign-injector';
    const plane = await KubeControlPlane.start(t, {
      users: [
        `${INJECTOR},${account},i,"system:masters"`,
        `${TENANT},system:serviceaccount:shop:countersign-injector,t,"system:masters"`,
      ],
    });
    const [injector, tenant] = [plane.client(INJECTOR), plane.client(TENANT)];
    await tenant.create('/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'shop' },
    });
    const list = '/api/v1/namespaces/shop/configmaps';
    const map = (name: string, more: object = {}): object => ({
      ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { 'ca.pem': 'real' } },
      ...more,
    });
    const said = async (asked: Promise<unknown>): Promise<string> =>
      asked.then(
        () => 'done',
        (error: Error) =>
          /failed calling webhook "bundle\.inject/.test(error.message) ? 'asked' : error.message,
      );
    const put = (client: ApiClient, body: object): Promise<string> =>
      said(client.request('PUT', `${list}/${NAME}`, { body }));

    const [, validating] = webhookObjects('zone', NAME);
    const { webhooks, ...rest } = validating as unknown as { webhooks: { name: string }[] };
    // Nobody answers there: what would be asked is refused as unanswered, and what is not asked is done.
    await tenant.create('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', {
      ...rest,
      webhooks: webhooks.filter(({ name }) => name.startsWith('bundle')),
    });
    await until(
      'the webhook counts',
      async () =>
        (await said(tenant.request('POST', list, { body: map(NAME), query: { dryRun: 'All' } }))) === 'asked',
    );
    t.equal(await said(tenant.create(list, map(NAME))), 'asked', 'made before the injector makes it');
    t.equal(await said(tenant.create(list, map('other'))), 'done', 'any other name');
    t.equal(await said(injector.create(list, map(NAME))), 'done');
    t.equal(await put(tenant, map(NAME, { data: { 'ca.pem': 'forged' } })), 'asked');
    t.equal(await put(tenant, map(NAME, { data: { 'ca.pem': 'real', more: 'x' } })), 'asked');
    t.equal(await put(tenant, map(NAME, { data: undefined })), 'asked');
    t.equal(await put(tenant, map(NAME, { immutable: true })), 'asked', 'the injector could not renew it');
    t.equal(
      await put(tenant, map(NAME, { metadata: { name: NAME, labels: { a: 'b' } } })),
      'done',
      'a label',
    );
    t.equal(await put(injector, map(NAME, { data: { 'ca.pem': 'renewed' } })), 'done');
    t.equal(await said(tenant.request('DELETE', `${list}/${NAME}`)), 'done', 'pods without it do not start');
  },
);
