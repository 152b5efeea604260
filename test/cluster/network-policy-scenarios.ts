import { portName } from '../support/probe-pods.ts';

/** One state of the cluster, and who reaches whom then, by {@link expected}. A port without rules is not probed. */
export interface Step {
  /** Policies that are created or changed. */
  readonly apply?: readonly object[];
  /** Labels that namespaces or pods get: `namespace/y`, `pod/x/b`. */
  readonly label?: Readonly<Record<string, string>>;
  /** Every policy is deleted. */
  readonly clear?: boolean;
  readonly 80?: readonly string[];
  readonly 81?: readonly string[];
}

/** A test of upstream under its name there. */
export interface Scenario {
  readonly name: string;
  readonly steps: readonly Step[];
}

type Peer = object;
type Ports = readonly (number | string | { protocol: string; port?: number | string; endPort?: number })[];
interface Rule {
  readonly peers?: readonly Peer[];
  readonly ports?: Ports;
}
interface Spec {
  /** Of the pod label `pod`; undefined: every pod of the namespace. */
  readonly pod?: string;
  readonly selector?: object;
  readonly ingress?: readonly Rule[];
  readonly egress?: readonly Rule[];
}

function policy(namespace: string, name: string, { pod, selector, ingress, egress }: Spec): object {
  const ports = (list: Ports): object[] =>
    list.map((one) => (typeof one === 'object' ? one : { protocol: 'TCP', port: one }));
  const rules = (key: 'from' | 'to', list: readonly Rule[]): object[] =>
    list.map((rule) => ({
      ...(rule.peers === undefined ? {} : { [key]: rule.peers }),
      ...(rule.ports === undefined ? {} : { ports: ports(rule.ports) }),
    }));
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec: {
      podSelector: selector ?? (pod === undefined ? {} : { matchLabels: { pod } }),
      policyTypes: [
        ...(ingress === undefined ? [] : ['Ingress']),
        ...(egress === undefined ? [] : ['Egress']),
      ],
      ...(ingress === undefined ? {} : { ingress: rules('from', ingress) }),
      ...(egress === undefined ? {} : { egress: rules('to', egress) }),
    },
  };
}

const NAME = 'kubernetes.io/metadata.name';
const pods = (...names: string[]): Peer => ({
  podSelector:
    names.length === 1
      ? { matchLabels: { pod: names[0] } }
      : { matchExpressions: [{ key: 'pod', operator: 'In', values: names }] },
});
const inNamespace = (name: string): Peer => ({ namespaceSelector: { matchLabels: { [NAME]: name } } });
const byName = (operator: 'In' | 'NotIn', name: string): Peer => ({
  namespaceSelector: { matchExpressions: [{ key: NAME, operator, values: [name] }] },
});
const EVERYBODY: Peer = { namespaceSelector: {} };
const ALL: readonly Rule[] = [{}];

const ingressOfA = (...peers: Peer[]): object => policy('x', 'a-ingress', { pod: 'a', ingress: [{ peers }] });
const DENY_X = policy('x', 'deny-ingress', { ingress: [] });
const NOBODY_TO_A = 'deny * > x/a';

/**
 * The cases of Kubernetes' own test/e2e/network/netpol/network_policy.go (1.36) that are about TCP, in its order; each among all nine pods. Where upstream ends with
 * everything allowed, something is denied before, so that it can be seen that the policy has come.
 *
 * Left out: "using UDP" (three cases), "using SCTP" (three), and of "allowing any port traffic to a server on a specific protocol" the half by UDP: Countersign is
 * about TCP alone, and says so in docs/limits.md. That a rule for UDP or SCTP allows no TCP is here. Two have no row of their own: "NamespaceSelector with MatchLabels
 * using default ns label" has the policy of "traffic only from a different namespace", and "an IP overlapping both" stands with the except clause.
 */
export function scenarios(address: (pod: string) => string): Scenario[] {
  const just = (pod: string): string => `${address(pod)}/32`;
  return [
    {
      name: "a 'default-deny-ingress' policy",
      steps: [{ apply: [DENY_X], 80: ['deny * > x/*'] }],
    },
    {
      name: "a 'default-deny-all' policy",
      steps: [
        {
          apply: [policy('x', 'deny-all', { ingress: [], egress: [] })],
          80: ['deny * > x/*', 'deny x/* > *'],
        },
      ],
    },
    {
      name: 'traffic from pods within server namespace based on PodSelector',
      steps: [{ apply: [ingressOfA(pods('b'))], 80: [NOBODY_TO_A, 'allow x/b > x/a'] }],
    },
    {
      name: 'ingress traffic for a target',
      steps: [
        {
          apply: [DENY_X, ingressOfA({ podSelector: {}, namespaceSelector: {} })],
          80: ['deny * > x/*', 'allow * > x/a'],
        },
      ],
    },
    {
      name: 'ingress traffic from pods in all namespaces',
      steps: [
        { apply: [ingressOfA(pods('nobody'))], 80: [NOBODY_TO_A] },
        { apply: [ingressOfA(EVERYBODY)], 80: [] },
      ],
    },
    {
      name: 'traffic only from a different namespace, based on NamespaceSelector',
      steps: [{ apply: [ingressOfA(inNamespace('y'))], 80: [NOBODY_TO_A, 'allow y/* > x/a'] }],
    },
    {
      name: 'PodSelector with MatchExpressions',
      steps: [
        {
          apply: [
            ingressOfA({
              podSelector: { matchExpressions: [{ key: 'pod', operator: 'In', values: ['b'] }] },
            }),
          ],
          80: [NOBODY_TO_A, 'allow x/b > x/a'],
        },
      ],
    },
    {
      name: 'NamespaceSelector with MatchExpressions',
      steps: [{ apply: [ingressOfA(byName('In', 'y'))], 80: [NOBODY_TO_A, 'allow y/* > x/a'] }],
    },
    {
      name: 'PodSelector or NamespaceSelector',
      steps: [
        { apply: [ingressOfA(byName('NotIn', 'x'), pods('b'))], 80: ['deny x/* > x/a', 'allow x/b > x/a'] },
      ],
    },
    {
      name: 'PodSelector and NamespaceSelector',
      steps: [
        {
          apply: [ingressOfA({ ...byName('NotIn', 'x'), ...pods('b') })],
          80: [NOBODY_TO_A, 'allow y/b > x/a', 'allow z/b > x/a'],
        },
      ],
    },
    {
      name: 'Multiple PodSelectors and NamespaceSelectors',
      steps: [
        {
          apply: [ingressOfA({ ...byName('NotIn', 'x'), ...pods('b', 'c') })],
          80: ['deny x/* > x/a', 'deny y/a > x/a', 'deny z/a > x/a'],
        },
      ],
    },
    {
      name: 'any PodSelectors',
      steps: [
        {
          apply: [ingressOfA(pods('b'), pods('c'))],
          80: [NOBODY_TO_A, 'allow x/b > x/a', 'allow x/c > x/a'],
        },
      ],
    },
    {
      name: 'traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector',
      steps: [
        { apply: [ingressOfA({ ...inNamespace('y'), ...pods('a') })], 80: [NOBODY_TO_A, 'allow y/a > x/a'] },
      ],
    },
    {
      name: 'Ports',
      steps: [
        {
          apply: [policy('x', 'ports', { pod: 'a', ingress: [{ peers: [inNamespace('y')], ports: [81] }] })],
          80: [NOBODY_TO_A],
          81: [NOBODY_TO_A, 'allow y/* > x/a'],
        },
      ],
    },
    {
      name: 'multiple, stacked policies with overlapping podSelectors',
      steps: [
        {
          apply: [
            policy('x', 'only-81', { pod: 'a', ingress: [{ peers: [inNamespace('y')], ports: [81] }] }),
          ],
          80: [NOBODY_TO_A],
          81: [NOBODY_TO_A, 'allow y/* > x/a'],
        },
        {
          apply: [
            policy('x', 'also-80', { pod: 'a', ingress: [{ peers: [inNamespace('y')], ports: [80] }] }),
          ],
          80: [NOBODY_TO_A, 'allow y/* > x/a'],
          81: [NOBODY_TO_A, 'allow y/* > x/a'],
        },
      ],
    },
    {
      name: 'allow-all policy',
      steps: [
        { apply: [DENY_X], 80: ['deny * > x/*'], 81: ['deny * > x/*'] },
        { apply: [policy('x', 'allow-all', { ingress: ALL })], 80: [], 81: [] },
      ],
    },
    {
      name: 'ingress access on one named port',
      steps: [
        {
          apply: [policy('x', 'named', { ingress: [{ ports: [portName(81)] }] })],
          80: ['deny * > x/*'],
          81: [],
        },
      ],
    },
    {
      name: 'ingress access from namespace on one named port',
      steps: [
        {
          apply: [
            policy('x', 'named', {
              pod: 'a',
              ingress: [{ peers: [inNamespace('y')], ports: [portName(80)] }],
            }),
          ],
          80: [NOBODY_TO_A, 'allow y/* > x/a'],
          81: [NOBODY_TO_A],
        },
      ],
    },
    {
      name: 'egress access on one named port',
      steps: [
        {
          apply: [policy('x', 'named', { egress: [{ ports: [portName(80)] }] })],
          80: [],
          81: ['deny x/* > *'],
        },
      ],
    },
    {
      name: 'updated policy',
      steps: [
        { apply: [policy('x', 'changed', { ingress: ALL })], 81: [] },
        { apply: [policy('x', 'changed', { ingress: [] })], 81: ['deny * > x/*'] },
      ],
    },
    {
      name: 'ingress access from updated namespace',
      steps: [
        {
          apply: [ingressOfA({ namespaceSelector: { matchLabels: { ns2: 'updated' } } })],
          80: [NOBODY_TO_A],
        },
        { label: { 'namespace/y': 'ns2=updated' }, 80: [NOBODY_TO_A, 'allow y/* > x/a'] },
        { label: { 'namespace/y': 'ns2-' }, 80: [NOBODY_TO_A] },
      ],
    },
    {
      name: 'ingress access from updated pod',
      steps: [
        {
          apply: [ingressOfA({ podSelector: { matchLabels: { pod: 'b', pod2: 'updated' } } })],
          80: [NOBODY_TO_A],
        },
        { label: { 'pod/x/b': 'pod2=updated' }, 80: [NOBODY_TO_A, 'allow x/b > x/a'] },
        { label: { 'pod/x/b': 'pod2-' }, 80: [NOBODY_TO_A] },
      ],
    },
    {
      name: 'deny ingress from pods on other namespaces',
      steps: [
        {
          apply: [policy('x', 'own', { ingress: [{ peers: [{ podSelector: {} }] }] })],
          80: ['deny y/* > x/*', 'deny z/* > x/*'],
        },
      ],
    },
    {
      name: 'deny ingress access to updated pod',
      steps: [
        {
          apply: [
            policy('x', 'isolated', { selector: { matchLabels: { target: 'isolated' } }, ingress: [] }),
          ],
          80: [],
        },
        { label: { 'pod/x/a': 'target=isolated' }, 80: [NOBODY_TO_A] },
        { label: { 'pod/x/a': 'target-' }, 80: [] },
      ],
    },
    {
      name: 'deny egress from pods based on PodSelector',
      steps: [{ apply: [policy('x', 'deny-egress', { pod: 'a', egress: [] })], 80: ['deny x/a > *'] }],
    },
    {
      name: 'deny egress from all pods in a namespace',
      steps: [{ apply: [policy('x', 'deny-egress', { egress: [] })], 80: ['deny x/* > *'] }],
    },
    {
      name: 'Ingress, Egress specified together',
      steps: [
        {
          apply: [
            policy('x', 'both', { pod: 'a', ingress: [{ peers: [pods('b')] }], egress: [{ ports: [80] }] }),
          ],
          80: [NOBODY_TO_A, 'allow x/b > x/a'],
          81: [NOBODY_TO_A, 'allow x/b > x/a', 'deny x/a > *'],
        },
      ],
    },
    {
      name: 'denying of egress traffic on the client side (even if the server explicitly allows this traffic)',
      steps: [
        {
          apply: [
            policy('x', 'to-y-a', { pod: 'a', egress: [{ peers: [{ ...inNamespace('y'), ...pods('a') }] }] }),
            ...['a', 'b'].map((pod) =>
              policy('y', `from-x-a-${pod}`, {
                pod,
                ingress: [{ peers: [{ ...inNamespace('x'), ...pods('a') }] }],
              }),
            ),
          ],
          80: ['deny x/a > *', 'deny * > y/a', 'deny * > y/b', 'allow x/a > y/a'],
        },
      ],
    },
    {
      name: 'egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector',
      steps: [
        {
          apply: [
            policy('x', 'to-y-a', { pod: 'a', egress: [{ peers: [{ ...inNamespace('y'), ...pods('a') }] }] }),
          ],
          80: ['deny x/a > *', 'allow x/a > y/a'],
        },
      ],
    },
    {
      name: 'ingress policy allowing any port traffic to a server on a specific protocol',
      steps: [
        { apply: [policy('x', 'by-protocol', { pod: 'a', ingress: [] })], 80: [NOBODY_TO_A] },
        {
          apply: [policy('x', 'by-protocol', { pod: 'a', ingress: [{ ports: [{ protocol: 'TCP' }] }] })],
          80: [],
          81: [],
        },
      ],
    },
    {
      name: 'multiple ingress policies with ingress allow-all policy taking precedence',
      steps: [
        { apply: [policy('x', 'only-80', { ingress: [{ ports: [80] }] })], 80: [], 81: ['deny * > x/*'] },
        { apply: [policy('x', 'allow-all', { ingress: ALL })], 80: [], 81: [] },
      ],
    },
    {
      name: 'multiple egress policies with egress allow-all policy taking precedence',
      steps: [
        { apply: [policy('x', 'only-80', { egress: [{ ports: [80] }] })], 80: [], 81: ['deny x/* > *'] },
        { apply: [policy('x', 'allow-all', { egress: ALL })], 80: [], 81: [] },
      ],
    },
    {
      name: 'stop enforcing policies after they are deleted',
      steps: [
        {
          apply: [policy('x', 'deny-all', { ingress: [], egress: [] })],
          80: ['deny x/* > *', 'deny * > x/*'],
        },
        { clear: true, 80: [] },
      ],
    },
    {
      name: 'egress access to server in CIDR block',
      steps: [
        {
          apply: [
            policy('x', 'cidr', { pod: 'a', egress: [{ peers: [{ ipBlock: { cidr: just('y/b') } }] }] }),
          ],
          80: ['deny x/a > *', 'allow x/a > y/b'],
        },
      ],
    },
    {
      name: 'except clause while egress access to server in CIDR block, and an IP overlapping both',
      steps: [
        {
          apply: [
            policy('x', 'cidr', {
              pod: 'a',
              egress: [{ peers: [{ ipBlock: { cidr: '10.244.0.0/16', except: [just('x/b')] } }] }],
            }),
          ],
          80: ['deny x/a > x/b'],
        },
        {
          apply: [
            policy('x', 'cidr', { pod: 'a', egress: [{ peers: [{ ipBlock: { cidr: just('x/b') } }] }] }),
          ],
          80: ['deny x/a > *', 'allow x/a > x/b'],
        },
      ],
    },
    {
      name: 'ingress and egress policies can be controlled independently based on PodSelector',
      steps: [
        { apply: [policy('x', 'egress', { pod: 'a', egress: ALL })], 80: [] },
        { apply: [policy('x', 'ingress', { pod: 'a', ingress: [] })], 80: [NOBODY_TO_A] },
      ],
    },
    {
      name: "not mistakenly treat 'protocol: SCTP' as 'protocol: TCP'",
      steps: [
        {
          apply: [
            DENY_X,
            policy('x', 'sctp', { pod: 'a', ingress: [{ ports: [{ protocol: 'SCTP', port: 81 }] }] }),
          ],
          81: ['deny * > x/*'],
        },
      ],
    },
    {
      name: 'properly isolate pods that are selected by a policy allowing SCTP',
      steps: [
        {
          apply: [policy('x', 'sctp', { pod: 'a', ingress: [{ ports: [{ protocol: 'SCTP', port: 80 }] }] })],
          80: [NOBODY_TO_A],
          81: [NOBODY_TO_A],
        },
      ],
    },
    {
      name: 'not allow access by TCP when a policy specifies only UDP',
      steps: [
        {
          apply: [policy('x', 'udp', { pod: 'a', ingress: [{ ports: [{ protocol: 'UDP', port: 81 }] }] })],
          81: [NOBODY_TO_A],
        },
      ],
    },
    {
      name: 'NamespaceSelector with MatchExpressions using default ns label',
      steps: [
        {
          apply: [policy('x', 'not-y', { pod: 'a', egress: [{ peers: [byName('NotIn', 'y')] }] })],
          80: ['deny x/a > y/*'],
        },
      ],
    },
    {
      // Not upstream's: ports that end, which its file has no case for.
      name: 'a range of ports',
      steps: [
        {
          apply: [
            policy('x', 'range', { ingress: [{ ports: [{ protocol: 'TCP', port: 81, endPort: 90 }] }] }),
          ],
          80: ['deny * > x/*'],
          81: [],
        },
      ],
    },
  ];
}
