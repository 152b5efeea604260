import type { Test } from 'tap';
import type { PolicyPod } from '../../src/policy/compile.ts';
import type { Evaluate, PolicyPeerFacts } from '../../src/policy/evaluate.ts';
import type { NetworkPolicy } from '../../src/policy/model.ts';
import { CONFORMANCE_CASES } from '../policy/conformance-cases.ts';
import { callAllowed, policyOf, PORTS, PROTOCOLS, WORLD } from '../policy/world.ts';

/** What makes the engine of one pod. */
export type MakeEvaluate = (options: {
  readonly policies: readonly NetworkPolicy[];
  readonly pod: PolicyPod;
}) => Evaluate;

const POD: PolicyPod = { namespace: 'shop', labels: { app: 'db' } };
const FACTS = {
  address: '10.0.0.7',
  namespace: 'shop',
  labels: { app: 'api' },
  namespaceLabels: { team: 'shop' },
};
const PEERS: Record<string, PolicyPeerFacts> = {
  proven: { kind: 'proven', ...FACTS },
  'known pod': { kind: 'pod', ...FACTS },
  'bare address': { kind: 'address', address: FACTS.address },
};

/** The part of the contract that is about the verdict alone: what may be said yes to. */
export function testEvaluateVerdicts(t: Test, subject: string, make: MakeEvaluate): void {
  for (const { name, policies, allows } of CONFORMANCE_CASES) {
    t.test(`${subject}: ${name}`, (t) => {
      const decoded = policies.map(([namespace, spec], index) => policyOf(namespace, `p${index}`, spec));
      const engines = new Map(WORLD.map((pod) => [pod.id, make({ policies: decoded, pod })]));
      const wrong: string[] = [];
      for (const from of WORLD) {
        for (const to of WORLD) {
          for (const protocol of PROTOCOLS) {
            for (const port of PORTS) {
              const allowed = callAllowed(engines, from, to, protocol, port);
              if (allowed !== allows(from, to, port, protocol))
                wrong.push(`${from.id} -> ${to.id} ${protocol} ${port}: ${allowed ? 'allowed' : 'denied'}`);
            }
          }
        }
      }
      t.strictSame(wrong, []);
      t.end();
    });
  }

  const rows: readonly (readonly [string, unknown, string, string])[] = [
    // what the rule names, inbound allows, outbound allows
    ['a podSelector', [{ podSelector: { matchLabels: { app: 'api' } } }], 'proven', 'proven, known pod'],
    ['every pod of every namespace', [{ namespaceSelector: {} }], 'proven', 'proven, known pod'],
    ['a NotIn on a label', [podNotIn('app', 'web')], 'proven', 'proven, known pod'],
    ['no label', [podWithout('tier')], 'proven', 'proven, known pod'],
    [
      'its address',
      [{ ipBlock: { cidr: '10.0.0.0/29' } }],
      'proven, known pod, bare address',
      'proven, known pod, bare address',
    ],
    ['another address', [{ ipBlock: { cidr: '10.0.0.0/30' } }], '', ''],
    ['everybody', [], 'proven, known pod, bare address', 'proven, known pod, bare address'],
  ];
  for (const [what, entries, inbound, outbound] of rows) {
    t.test(`${subject}: a rule for ${what} counts as much as the peer has proven`, (t) => {
      const policies = [
        policyOf('shop', 'p', {
          podSelector: {},
          policyTypes: ['Ingress', 'Egress'],
          ingress: [{ from: entries }],
          egress: [{ to: entries }],
        }),
      ];
      const engine = make({ policies, pod: POD });
      const allowed = (direction: 'inbound' | 'outbound'): string =>
        Object.keys(PEERS)
          .filter(
            (name) => engine.evaluate({ direction, peer: PEERS[name]!, protocol: 'TCP', port: 80 }).allow,
          )
          .join(', ');
      t.equal(allowed('inbound'), inbound, 'inbound');
      t.equal(allowed('outbound'), outbound, 'outbound');
      t.end();
    });
  }
}

/** The contract of the {@link Evaluate} seam: every implementation passes this. */
export function testEvaluateCompliance(t: Test, subject: string, make: MakeEvaluate): void {
  testEvaluateVerdicts(t, subject, make);

  t.test(`${subject}: says who decided`, (t) => {
    const allow = policyOf('shop', 'db-allow', {
      podSelector: {},
      ingress: [
        { from: [{ podSelector: { matchLabels: { app: 'web' } } }] },
        { from: [{ podSelector: { matchLabels: { app: 'api' } } }] },
      ],
    });
    const deny = policyOf('shop', 'a-default-deny', { podSelector: {} });
    const query = { direction: 'inbound', protocol: 'TCP', port: 80 } as const;
    const engine = make({ policies: [allow, deny], pod: POD });
    t.strictSame(engine.evaluate({ ...query, peer: PEERS['proven']! }), {
      allow: true,
      isolated: true,
      policy: 'networkpolicy/shop/db-allow',
      rule: 2,
    });
    const denied = engine.evaluate({ ...query, peer: PEERS['known pod']! });
    if (denied.allow) throw new Error('an unproven peer got in');
    t.strictSame(denied.policies, ['networkpolicy/shop/a-default-deny', 'networkpolicy/shop/db-allow']);
    t.strictSame(denied.nearestMiss, {
      policy: 'networkpolicy/shop/db-allow',
      rule: 2,
      text: 'would match if the peer proved its identity; it proved none',
    });
    const outbound = engine.evaluate({ ...query, direction: 'outbound', peer: PEERS['bare address']! });
    t.strictSame(outbound, { allow: true, isolated: false });
    const nothing = make({ policies: [deny], pod: POD }).evaluate({ ...query, peer: PEERS['proven']! });
    if (nothing.allow) throw new Error('default deny allowed');
    t.equal(nothing.nearestMiss, undefined, 'no rule, no nearest miss');
    t.end();
  });

  t.test(`${subject}: an address that cannot be read is in no block`, (t) => {
    const policies = [
      policyOf('shop', 'p', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '0.0.0.0/0' } }] }] }),
    ];
    const engine = make({ policies, pod: POD });
    for (const address of ['', 'nonsense', '010.0.0.1', 'fd00::1']) {
      const peer: PolicyPeerFacts = { kind: 'address', address };
      const decision = engine.evaluate({ direction: 'inbound', peer, protocol: 'TCP', port: 80 });
      t.notOk(decision.allow, JSON.stringify(address));
    }
    const peer: PolicyPeerFacts = { kind: 'address', address: '::ffff:192.0.2.1' };
    t.ok(engine.evaluate({ direction: 'inbound', peer, protocol: 'TCP', port: 80 }).allow, 'a mapped one');
    t.end();
  });
}

function podNotIn(key: string, value: string): unknown {
  return { podSelector: { matchExpressions: [{ key, operator: 'NotIn', values: [value] }] } };
}

function podWithout(key: string): unknown {
  return { podSelector: { matchExpressions: [{ key, operator: 'DoesNotExist' }] } };
}
