import t from 'tap';
import { decide } from '../../src/inject/decision.ts';
import type { Pod } from '../../src/inject/pod.ts';

const KEY = 'countersign.io/inject';
const labelled = (value: string | undefined): Record<string, string> =>
  value === undefined ? {} : { [KEY]: value };

t.test("injection: the pod's label decides, else its namespace's, else nothing happens", (t) => {
  // The table of docs/injection.md.
  const rows: [namespace: string | undefined, pod: string | undefined, injected: boolean][] = [
    [undefined, undefined, false],
    [undefined, 'true', true],
    [undefined, 'false', false],
    ['true', undefined, true],
    ['true', 'true', true],
    ['true', 'false', false],
    ['false', undefined, false],
    ['false', 'true', true],
    ['false', 'false', false],
  ];
  for (const [namespace, own, injected] of rows) {
    const decision = decide(
      { metadata: { labels: labelled(own) } },
      { name: 'shop', labels: labelled(namespace) },
    );
    t.equal(decision.inject, injected, `namespace ${String(namespace)}, pod ${String(own)}`);
  }
  t.end();
});

t.test('injection: a label that is neither true nor false is refused, wherever it stands', (t) => {
  for (const value of ['True', 'yes', '', 'enabled', '1']) {
    t.match(decide({ metadata: { labels: labelled(value) } }, { name: 'shop', labels: {} }), {
      inject: undefined,
      refusal: /on the pod is neither "true" nor "false"/,
    });
    t.match(decide({}, { name: 'shop', labels: labelled(value) }), {
      refusal: /on the namespace is neither/,
    });
  }
  t.end();
});

t.test(
  'injection: who asks by the own label and cannot have a sidecar is refused, who inherits the wish goes without',
  (t) => {
    const rows: [why: RegExp, pod: Pod, namespace: string][] = [
      [/hostNetwork/, { spec: { containers: [], hostNetwork: true } }, 'shop'],
      [/os\.name: windows/, { spec: { containers: [], os: { name: 'windows' } } }, 'shop'],
      [
        /nodeSelector.*windows/,
        { spec: { containers: [], nodeSelector: { 'kubernetes.io/os': 'windows' } } },
        'shop',
      ],
      [/kube-system/, { spec: { containers: [] } }, 'kube-system'],
    ];
    for (const [why, pod, name] of rows) {
      t.match(decide({ ...pod, metadata: { labels: labelled('true') } }, { name, labels: {} }), {
        refusal: why,
      });
      t.match(decide(pod, { name, labels: labelled('true') }), { inject: false, reason: why });
    }
    t.end();
  },
);
