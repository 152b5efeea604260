import t from 'tap';
import { complaintAbout, keepObject, opensByAbsence } from '../../src/kube/cluster-objects.ts';
import type { NetworkPolicyObject } from '../../src/sources/objects.ts';

const metadata = { name: 'web', namespace: 'shop', resourceVersion: '1' };
const policy = (spec: unknown): Record<string, unknown> => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata,
  spec,
});

t.test('kept objects: of annotations only our own, whatever the others weigh', (t) => {
  const annotations = {
    'kubectl.kubernetes.io/last-applied-configuration': 'x'.repeat(1_000_000),
    'notcountersign.io/mode': 'audit',
    'countersign.io/mode': 'audit',
  };
  for (const kind of ['Pod', 'Namespace']) {
    const kept = keepObject({ apiVersion: 'v1', kind, metadata: { ...metadata, annotations } }, undefined);
    t.match(kept?.object, { kind });
    const { annotations: left } = kept!.object as unknown as { annotations: object };
    t.strictSame(left, { 'countersign.io/mode': 'audit' });
    t.ok(JSON.stringify(kept).length < 1_000);
  }
  t.end();
});

t.test('kept objects: what cannot be read never opens anything', (t) => {
  const odd = keepObject(
    policy({ podSelector: {}, ingress: 7 }),
    keepObject(policy({ podSelector: {}, ingress: [{}] }), undefined),
  );
  const { policy: isolating } = odd!.object as NetworkPolicyObject;
  t.equal(isolating.name, 'web');
  t.strictSame([isolating.ingress, isolating.egress], [[], []], 'both directions, and nobody');
  t.match(complaintAbout(odd!), { object: 'networkpolicy/shop/web', reason: /isolates its pods/ });
  t.notOk(opensByAbsence(odd!));

  const node = (podCIDR: string) => ({ apiVersion: 'v1', kind: 'Node', metadata, spec: { podCIDR } });
  const good = keepObject(node('10.0.0.0/24'), undefined)!;
  t.equal(complaintAbout(good), undefined);
  t.equal(keepObject(node('rubbish'), good)?.object, good.object, 'what was known of it stays');
  const never = keepObject(node('rubbish'), undefined)!;
  t.ok(opensByAbsence(never), 'its addresses would count as being outside of the cluster');
  t.match(complaintAbout(never)?.reason, /everything stays as it was/);

  const pod = keepObject({ apiVersion: 'v1', kind: 'Pod', metadata, status: { podIP: 'x' } }, undefined)!;
  t.notOk(opensByAbsence(pod), 'an address in the pod network that nobody has is refused');
  t.match(complaintAbout(pod)?.reason, /it is left out/);
  t.end();
});
