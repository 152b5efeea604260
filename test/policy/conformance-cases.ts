import type { WorldPod } from './world.ts';

/**
 * Policies in the small cluster of `world.ts`, and who may then call whom. The dimensions are those of the upstream end-to-end
 * suite and of cyclonus; the cases are our own.
 */
export interface ConformanceCase {
  readonly name: string;
  /** Namespace and spec of each policy. */
  readonly policies: readonly (readonly [string, unknown])[];
  readonly allows: (from: WorldPod, to: WorldPod, port: number, protocol: string) => boolean;
}

const pod = (name: string) => ({ matchLabels: { pod: name } });
const ns = (name: string) => ({ matchLabels: { ns: name } });
const toX = (to: WorldPod): boolean => to.namespace === 'x';
const toXA = (to: WorldPod): boolean => to.id === 'x/a';
const fromXA = (from: WorldPod): boolean => from.id === 'x/a';

export const CONFORMANCE_CASES: readonly ConformanceCase[] = [
  { name: 'no policy: everything is allowed', policies: [], allows: () => true },
  {
    name: 'default deny of ingress: nothing reaches the namespace, the rest is untouched',
    policies: [['x', { podSelector: {}, policyTypes: ['Ingress'] }]],
    allows: (_, to) => !toX(to),
  },
  {
    name: 'default deny of egress: nothing leaves the namespace',
    policies: [['x', { podSelector: {}, policyTypes: ['Egress'] }]],
    allows: (from) => from.namespace !== 'x',
  },
  {
    name: 'default deny of both directions',
    policies: [['x', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }]],
    allows: (from, to) => from.namespace !== 'x' && !toX(to),
  },
  {
    name: 'policyTypes left out, no rules: ingress is denied, egress is not',
    policies: [['x', { podSelector: {} }]],
    allows: (_, to) => !toX(to),
  },
  {
    name: 'policyTypes left out, an egress rule: both directions are isolated',
    policies: [['x', { podSelector: {}, egress: [{}] }]],
    allows: (_, to) => !toX(to),
  },
  {
    name: 'policyTypes left out, an empty list of egress rules: egress is not isolated',
    policies: [['x', { podSelector: {}, egress: [] }]],
    allows: (_, to) => !toX(to),
  },
  {
    name: 'policyTypes Egress with ingress rules: the ingress rules count for nothing',
    policies: [
      ['x', { podSelector: {}, policyTypes: ['Egress'], ingress: [{ from: [{ podSelector: pod('b') }] }] }],
    ],
    allows: (from) => from.namespace !== 'x',
  },
  {
    name: 'policyTypes Ingress with egress rules: egress stays open',
    policies: [
      ['x', { podSelector: {}, policyTypes: ['Ingress'], egress: [{ to: [{ podSelector: pod('b') }] }] }],
    ],
    allows: (_, to) => !toX(to),
  },
  {
    name: 'one empty ingress rule: everything comes in',
    policies: [['x', { podSelector: {}, ingress: [{}] }]],
    allows: () => true,
  },
  {
    name: 'empty lists of from and ports: the same as an empty rule',
    policies: [['x', { podSelector: {}, ingress: [{ from: [], ports: [] }] }]],
    allows: () => true,
  },
  {
    name: 'null for from and ports: the same as an empty rule',
    policies: [['x', { podSelector: {}, ingress: [{ from: null, ports: null }] }]],
    allows: () => true,
  },
  {
    name: 'an empty list of ingress rules: nothing comes in',
    policies: [['x', { podSelector: {}, ingress: [], policyTypes: ['Ingress'] }]],
    allows: (_, to) => !toX(to),
  },
  {
    name: 'podSelector alone: pods of the own namespace only',
    policies: [['x', { podSelector: pod('a'), ingress: [{ from: [{ podSelector: pod('b') }] }] }]],
    allows: (from, to) => !toXA(to) || from.id === 'x/b',
  },
  {
    name: 'an empty podSelector in from: every pod of the own namespace',
    policies: [['x', { podSelector: pod('a'), ingress: [{ from: [{ podSelector: {} }] }] }]],
    allows: (from, to) => !toXA(to) || from.namespace === 'x',
  },
  {
    name: 'namespaceSelector alone: every pod of those namespaces',
    policies: [['x', { podSelector: pod('a'), ingress: [{ from: [{ namespaceSelector: ns('y') }] }] }]],
    allows: (from, to) => !toXA(to) || from.namespace === 'y',
  },
  {
    name: 'an empty namespaceSelector: every pod of every namespace',
    policies: [['x', { podSelector: pod('a'), ingress: [{ from: [{ namespaceSelector: {} }] }] }]],
    allows: () => true,
  },
  {
    name: 'both selectors in one entry: both must match',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [{ from: [{ namespaceSelector: ns('y'), podSelector: pod('b') }] }],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.id === 'y/b',
  },
  {
    name: 'both selectors in two entries: one is enough',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [{ from: [{ namespaceSelector: ns('y') }, { podSelector: pod('b') }] }],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.namespace === 'y' || from.id === 'x/b',
  },
  {
    name: 'a namespace by its name, through the label that every namespace carries',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [
            { from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'z' } } }] },
          ],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.namespace === 'z',
  },
  {
    name: 'In: one of the values',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [
            {
              from: [
                {
                  namespaceSelector: {
                    matchExpressions: [{ key: 'ns', operator: 'In', values: ['y', 'z'] }],
                  },
                },
              ],
            },
          ],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.namespace !== 'x',
  },
  {
    name: 'NotIn: another value will do',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [
            {
              from: [
                {
                  namespaceSelector: { matchExpressions: [{ key: 'ns', operator: 'NotIn', values: ['x'] }] },
                },
              ],
            },
          ],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.namespace !== 'x',
  },
  {
    name: 'NotIn: the label may be missing',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [
            {
              from: [
                { podSelector: { matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['db'] }] } },
              ],
            },
          ],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.namespace === 'x',
  },
  {
    name: 'Exists and DoesNotExist together',
    policies: [
      [
        'x',
        {
          podSelector: {
            matchExpressions: [
              { key: 'pod', operator: 'Exists' },
              { key: 'tier', operator: 'DoesNotExist' },
            ],
          },
          ingress: [],
        },
      ],
    ],
    allows: (_, to) => !toX(to),
  },
  {
    name: 'a label that every JavaScript object inherits is no label',
    policies: [
      ['x', { podSelector: { matchExpressions: [{ key: 'constructor', operator: 'Exists' }] }, ingress: [] }],
    ],
    allows: () => true,
  },
  {
    name: 'matchLabels with the empty value does not match a missing label',
    policies: [['x', { podSelector: { matchLabels: { tier: '' } }, ingress: [] }]],
    allows: () => true,
  },
  {
    name: 'a numeric port: that port, TCP where no protocol is given',
    policies: [['x', { podSelector: pod('a'), ingress: [{ ports: [{ port: 80 }] }] }]],
    allows: (_, to, port, protocol) => !toXA(to) || (port === 80 && protocol === 'TCP'),
  },
  {
    name: 'a protocol without a port: every port of it',
    policies: [['x', { podSelector: pod('a'), ingress: [{ ports: [{ protocol: 'UDP' }] }] }]],
    allows: (_, to, _port, protocol) => !toXA(to) || protocol === 'UDP',
  },
  {
    name: 'an empty port entry: every port of TCP',
    policies: [['x', { podSelector: pod('a'), ingress: [{ ports: [{}] }] }]],
    allows: (_, to, _port, protocol) => !toXA(to) || protocol === 'TCP',
  },
  {
    name: 'SCTP on one port',
    policies: [['x', { podSelector: pod('a'), ingress: [{ ports: [{ protocol: 'SCTP', port: 81 }] }] }]],
    allows: (_, to, port, protocol) => !toXA(to) || (port === 81 && protocol === 'SCTP'),
  },
  {
    name: 'endPort: both ends count',
    policies: [['x', { podSelector: pod('a'), ingress: [{ ports: [{ port: 79, endPort: 80 }] }] }]],
    allows: (_, to, port, protocol) => !toXA(to) || (port === 80 && protocol === 'TCP'),
  },
  {
    name: 'endPort equal to port',
    policies: [['x', { podSelector: pod('a'), ingress: [{ ports: [{ port: 81, endPort: 81 }] }] }]],
    allows: (_, to, port, protocol) => !toXA(to) || (port === 81 && protocol === 'TCP'),
  },
  {
    name: 'a named port on ingress: the number that the own pod gives the name',
    policies: [['x', { podSelector: {}, ingress: [{ ports: [{ port: 'web' }] }] }]],
    allows: (_, to, port, protocol) => !toX(to) || (protocol === 'TCP' && port === (toXA(to) ? 81 : 80)),
  },
  {
    name: 'a named port on egress: the number that each destination gives the name',
    policies: [
      ['y', { podSelector: pod('a'), policyTypes: ['Egress'], egress: [{ ports: [{ port: 'web' }] }] }],
    ],
    allows: (from, to, port, protocol) =>
      from.id !== 'y/a' || (protocol === 'TCP' && port === (toXA(to) ? 81 : 80)),
  },
  {
    name: 'a named port of another protocol does not match',
    policies: [
      ['x', { podSelector: pod('a'), ingress: [{ ports: [{ protocol: 'UDP', port: 'serve-80-tcp' }] }] }],
    ],
    allows: (_, to) => !toXA(to),
  },
  {
    name: 'peers and ports of one rule: both must match',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [{ from: [{ namespaceSelector: ns('y') }], ports: [{ port: 81 }] }],
        },
      ],
    ],
    allows: (from, to, port, protocol) =>
      !toXA(to) || (from.namespace === 'y' && port === 81 && protocol === 'TCP'),
  },
  {
    name: 'two rules: one is enough, and their parts do not mix',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [
            { from: [{ namespaceSelector: ns('y') }], ports: [{ port: 80 }] },
            { from: [{ namespaceSelector: ns('z') }], ports: [{ port: 81 }] },
          ],
        },
      ],
    ],
    allows: (from, to, port, protocol) =>
      !toXA(to) ||
      (protocol === 'TCP' &&
        ((from.namespace === 'y' && port === 80) || (from.namespace === 'z' && port === 81))),
  },
  {
    name: 'two policies add up',
    policies: [
      ['x', { podSelector: pod('a'), ingress: [{ from: [{ namespaceSelector: ns('y') }] }] }],
      ['x', { podSelector: {}, ingress: [{ from: [{ podSelector: pod('c') }] }] }],
    ],
    allows: (from, to) => !toX(to) || from.id === 'x/c' || (toXA(to) && from.namespace === 'y'),
  },
  {
    name: 'default deny next to an allow: the allow counts',
    policies: [
      ['x', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }],
      ['x', { podSelector: pod('a'), ingress: [{ from: [{ namespaceSelector: ns('y') }] }] }],
    ],
    allows: (from, to) => from.namespace !== 'x' && (!toX(to) || (toXA(to) && from.namespace === 'y')),
  },
  {
    name: 'both sides must allow: egress written, ingress missing',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          policyTypes: ['Egress'],
          egress: [{ to: [{ namespaceSelector: ns('y') }] }],
        },
      ],
      ['y', { podSelector: pod('a'), policyTypes: ['Ingress'] }],
    ],
    allows: (from, to) => to.id !== 'y/a' && (!fromXA(from) || to.namespace === 'y'),
  },
  {
    name: 'a policy selects in its own namespace only',
    policies: [['y', { podSelector: pod('a'), ingress: [] }]],
    allows: (_, to) => to.id !== 'y/a',
  },
  {
    name: 'ipBlock on ingress holds pod addresses too',
    policies: [['x', { podSelector: pod('a'), ingress: [{ from: [{ ipBlock: { cidr: '10.0.1.0/24' } }] }] }]],
    allows: (from, to) => !toXA(to) || from.namespace === 'y',
  },
  {
    name: 'ipBlock with except',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/16', except: ['10.0.1.2/32'] } }] }],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.id !== 'y/b',
  },
  {
    name: 'an exception of one block is allowed by another rule',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          ingress: [
            { from: [{ ipBlock: { cidr: '10.0.0.0/16', except: ['10.0.1.0/24'] } }] },
            { from: [{ ipBlock: { cidr: '10.0.1.3/32' } }] },
          ],
        },
      ],
    ],
    allows: (from, to) => !toXA(to) || from.namespace !== 'y' || from.id === 'y/c',
  },
  {
    name: 'ipBlock on egress',
    policies: [
      [
        'x',
        {
          podSelector: pod('a'),
          policyTypes: ['Egress'],
          egress: [{ to: [{ ipBlock: { cidr: '10.0.2.0/30' } }] }],
        },
      ],
    ],
    allows: (from, to) => !fromXA(from) || to.namespace === 'z',
  },
  {
    name: 'a block of every IPv6 address holds no IPv4 address',
    policies: [['x', { podSelector: pod('a'), ingress: [{ from: [{ ipBlock: { cidr: '::/0' } }] }] }]],
    allows: (_, to) => !toXA(to),
  },
];
