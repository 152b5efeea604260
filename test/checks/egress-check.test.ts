import t from 'tap';
import { checkEgress } from '../../src/checks/egress-check.ts';
import { Judge } from '../../src/policy/judge.ts';
import { Ends } from '../../src/workloads/ends.ts';
import { takeInventory } from '../../src/workloads/inventory.ts';
import { enrolled, facts, runningPod, SETTINGS } from './samples.ts';

const dns = {
  metadata: { namespace: 'kube-system', name: 'dns', labels: { 'k8s-app': 'kube-dns' } },
  spec: { containers: [] },
};
const policy = (spec: object, name = 'deny'): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'shop', name },
  spec,
});
const cluster = (...policies: object[]) =>
  facts({
    namespaces: [
      enrolled('shop'),
      { metadata: { name: 'kube-system', labels: { 'kubernetes.io/metadata.name': 'kube-system' } } },
    ],
    pods: [runningPod('shop', 'web'), runningPod('shop', 'db'), dns] as never,
    policies,
  });

t.test('check egress: without isolation nobody is cut off', (t) => {
  t.strictSame(checkEgress(cluster(), SETTINGS), []);
  t.strictSame(checkEgress(cluster(policy({ podSelector: {}, policyTypes: ['Ingress'] })), SETTINGS), []);
  t.end();
});

t.test('check egress: a default deny is found; its remedy lets sidecars through and isolates nobody', (t) => {
  const deny = policy({ podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Egress'] });
  const before = cluster(deny);
  const [finding, ...more] = checkEgress(before, SETTINGS);
  t.strictSame(more, []);
  t.match(finding, { level: 'error', object: 'namespace/shop' });
  t.match(finding!.text, /networkpolicy\/shop\/deny cuts sidecars of web off the authority and DNS/);
  const after = cluster(deny, finding!.apply!);
  t.strictSame(checkEgress(after, SETTINGS), []);
  const inventory = takeInventory(
    [
      ...after.namespaces!.map((one) => ({ apiVersion: 'v1', kind: 'Namespace', ...one })),
      ...after.pods!.map((one) => ({ apiVersion: 'v1', kind: 'Pod', ...one })),
      ...after.policies!,
    ].map((value) => ({ value })),
  );
  const ends = new Ends(inventory);
  const judge = new Judge(inventory.policies);
  const call = (from: string, to: string) =>
    judge.verdict({ from: ends.named(from)!, to: ends.named(to)!, protocol: 'TCP', port: 80 });
  t.equal(call('shop/db', 'shop/web'), 'allow', 'who was open stays open');
  t.equal(call('shop/web', 'shop/db'), 'deny', 'who was closed stays closed');
  t.end();
});

t.test('check egress: DNS alone may be missing, and an open port to anywhere is enough', (t) => {
  const toAuthority = policy({
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [{ ports: [{ protocol: 'TCP', port: 14_443 }] }],
  });
  const [finding] = checkEgress(cluster(toAuthority), SETTINGS);
  t.match(finding!.text, /off DNS,/);
  const open = policy({
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      {
        ports: [
          { protocol: 'TCP', port: 14_443 },
          { protocol: 'UDP', port: 53 },
        ],
      },
    ],
  });
  t.strictSame(checkEgress(cluster(open), SETTINGS), []);
  t.end();
});

t.test('check egress: a namespace that does not ask is looked at when it is named', (t) => {
  const base = cluster(policy({ podSelector: {}, policyTypes: ['Egress'] }));
  const silent = { ...base, namespaces: [{ metadata: { name: 'shop' } }] };
  t.strictSame(checkEgress(silent, SETTINGS), []);
  t.equal(checkEgress(silent, { ...SETTINGS, enrolling: ['shop'] }).length, 1);
  t.end();
});

t.test('check egress: nothing is concluded when policies or pods could not be seen', (t) => {
  const base = cluster(policy({ podSelector: {}, policyTypes: ['Egress'] }));
  t.strictSame(checkEgress({ ...base, policies: undefined }, SETTINGS), []);
  t.strictSame(checkEgress({ ...base, pods: undefined }, SETTINGS), []);
  t.end();
});
