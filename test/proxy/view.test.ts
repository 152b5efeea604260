import t from 'tap';
import type { Pod } from '../../src/peers/directory.ts';
import type { PolicyQuery, Evaluate } from '../../src/policy/evaluate.ts';
import type { ProvenPeer } from '../../src/proxy/peer.ts';
import { View } from '../../src/proxy/view.ts';
import type { Snapshot } from '../../src/sources/source.ts';

t.test(
  'view: a proven peer has the labels and named ports of its own pod, never those of another one of its name',
  (t) => {
    const known = {
      uid: 'known',
      labels: { app: 'known' },
      ports: [{ name: 'db', port: 5432, protocol: 'TCP' }],
    };
    const directory = { pod: () => known as unknown as Pod, namespaceLabels: () => ({}) };
    const asked: PolicyQuery[] = [];
    const policy = {
      evaluate: (facts: PolicyQuery) => {
        asked.push(facts);
        return { allow: true, policies: [] };
      },
    };
    const view = new View(
      { directory, mode: 'enforce' } as unknown as Snapshot,
      policy as unknown as Evaluate,
      () => false,
    );
    const peer = (podUid: string) =>
      ({
        podUid,
        podName: 'db',
        namespace: 'shop',
        labels: { app: 'token' },
        namespaceLabels: {},
      }) as unknown as ProvenPeer;
    view.outboundProven(peer('known'), { address: '10.0.0.1', port: 5432 });
    view.outboundProven(peer('other'), { address: '10.0.0.1', port: 5432 });
    t.match(asked[0], { namedPorts: known.ports, peer: { labels: { app: 'known' } } });
    t.match(asked[1], { peer: { labels: { app: 'token' } } });
    t.notOk('namedPorts' in asked[1]!, 'the ports of the other pod do not count for it');
    t.end();
  },
);

t.test(
  'attack: a peer whose proof says names alone satisfies no rule unless the source knows this very pod',
  (t) => {
    const known = { uid: 'known', serviceAccount: 'web', labels: { app: 'known' }, ports: [] };
    const directory = {
      pod: (_: string, name: string) => (name === 'db' ? (known as unknown as Pod) : undefined),
      namespaceLabels: () => ({}),
    };
    const asked: PolicyQuery[] = [];
    const allowing = { evaluate: (facts: PolicyQuery) => (asked.push(facts), { allow: true, policies: [] }) };
    const view = new View(
      { directory, mode: 'audit' } as unknown as Snapshot,
      allowing as unknown as Evaluate,
      () => false,
    );
    const peer = (podUid: string, podName: string, serviceAccount: string | undefined) =>
      ({
        podUid,
        podName,
        namespace: 'shop',
        labels: {},
        namespaceLabels: {},
        namesOnly: { serviceAccount },
      }) as unknown as ProvenPeer;
    const both = (one: ProvenPeer) => [
      view.inboundProven(one, '10.0.0.1', 80),
      view.outboundProven(one, { address: '10.0.0.1', port: 80 }),
    ];
    for (const [what, one] of [
      ['another uid', peer('other', 'db', 'web')],
      ['a name that nobody has', peer('known', 'web', 'web')],
      ['another service account', peer('known', 'db', 'admin')],
      ['no service account', peer('known', 'web', undefined)],
    ] as const) {
      t.match(
        both(one),
        [
          { verdict: 'deny', reason: 'pod-unknown' },
          { verdict: 'deny', reason: 'pod-unknown' },
        ],
        what,
      );
    }
    t.equal(asked.length, 0, 'policy is not even asked, in audit mode neither');
    t.match(both(peer('known', 'db', 'web')), [{ verdict: 'allow' }, { verdict: 'allow' }]);
    t.match(asked[0], { peer: { labels: { app: 'known' } } });
    t.end();
  },
);
