import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { injectPod } from '../../src/inject/inject-pod.ts';
import type { Pod } from '../../src/inject/pod.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { namespace, pod, SETTINGS } from '../inject/samples.ts';
import { KubeControlPlane } from '../support/kube-control-plane.ts';
import { until } from '../support/until.ts';

t.setTimeout(600_000);
const page = readFileSync(join(import.meta.dirname, '../../docs/multi-tenancy.md'), 'utf8');

/** The policies of the page, as they stand there. */
const objects = [...page.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].flatMap(([, text = '']) =>
  parseAllDocuments(text).map((one) => one.toJS() as { kind: string; metadata: { name: string } }),
);

/** What the API server says to a pod that it does not keep; undefined: nothing against it. */
async function refusal(admin: ApiClient, place: string, made: Pod): Promise<string | undefined> {
  const body = { ...made, metadata: { ...made.metadata, namespace: place } };
  try {
    await admin.request('POST', `/api/v1/namespaces/${place}/pods`, { query: { dryRun: 'All' }, body });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

t.test(
  'the admission policies of docs/multi-tenancy.md do what the page says, on a real API server',
  async (t) => {
    const admin = (await KubeControlPlane.start(t)).client();
    for (const [name, labels] of [
      ['shop', { 'countersign.io/inject': 'true' }],
      ['payments', {}],
    ] as const) {
      await admin.create('/api/v1/namespaces', {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name, labels },
      });
      await admin.create(`/api/v1/namespaces/${name}/serviceaccounts`, {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: 'default' },
      });
    }
    t.equal(objects.length, 6);
    for (const object of objects) {
      const plural = object.kind.endsWith('Binding') ? 'bindings' : 'policies';
      const base = '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic';
      const answer = (await admin.create(
        `${base}${plural === 'policies' ? 'ies' : 'ybindings'}`,
        object,
      )) as object;
      t.match(answer, { metadata: { name: object.metadata.name } });
    }
    const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
    const app = { name: 'web', image: 'nginx', securityContext };
    const injected = (change: Partial<typeof app> = {}): Pod => {
      const made = injectPod(pod({ containers: [{ ...app, ...change }] }), namespace(), SETTINGS, '1');
      if (made.outcome !== 'injected') throw new Error(JSON.stringify(made));
      return made.pod;
    };
    const labelled = (labels: Record<string, string>): Pod => ({
      ...injected(),
      metadata: { name: 'web-0', labels },
    });
    await until('the policies are in force', async () =>
      /no-opt-out/.test((await refusal(admin, 'shop', labelled({ 'countersign.io/inject': 'false' }))) ?? ''),
    );
    t.equal(await refusal(admin, 'shop', injected()), undefined, 'an injected pod is taken');
    const grants = namespace({ annotations: { 'countersign.io/grants': 'nfqueue' } });
    const asking = pod({ containers: [app] }, { annotations: { 'countersign.io/data-path': 'nfqueue' } });
    const withCapabilities = injectPod(asking, grants, SETTINGS, '1');
    t.equal(
      withCapabilities.outcome === 'injected' && (await refusal(admin, 'shop', withCapabilities.pod)),
      undefined,
      'one with a sidecar that keeps capabilities, too',
    );
    await until('all of them', async () =>
      /app=payments/.test((await refusal(admin, 'shop', labelled({ app: 'payments' }))) ?? ''),
    );
    t.equal(await refusal(admin, 'payments', labelled({ app: 'payments' })), undefined, 'the label at home');
    t.equal(
      await refusal(admin, 'payments', labelled({ 'countersign.io/inject': 'false' })),
      undefined,
      'elsewhere',
    );
    const escalating = {
      name: 'web',
      image: 'nginx',
      securityContext: { ...securityContext, allowPrivilegeEscalation: true },
    };
    await until(
      'and the last',
      async () => (await refusal(admin, 'shop', injected(escalating))) !== undefined,
    );
    t.match(await refusal(admin, 'shop', injected(escalating)), /allowPrivilegeEscalation has to be false/);
    const adding = {
      securityContext: { ...securityContext, capabilities: { drop: ['ALL'], add: ['CHOWN'] } },
    };
    t.match(await refusal(admin, 'shop', injected(adding)), /drop ALL, add NET_BIND_SERVICE at most/);
    t.match(await refusal(admin, 'shop', pod()), /has to be false/, 'a container that says nothing');
  },
);
