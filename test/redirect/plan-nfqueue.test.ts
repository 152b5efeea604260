import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Marks } from '../../src/nfqueue/marks.ts';
import { remedyFor } from '../../src/redirect/plan-complaint.ts';
import { foreignMarks, foreignNftMarks, foreignQueues } from '../../src/redirect/plan-foreign.ts';
import { iptablesPlan, iptablesScratch, iptablesState } from '../../src/redirect/plan-iptables.ts';
import { type NfqueueOptions, nfqueuePlan } from '../../src/redirect/plan-nfqueue.ts';
import { printedPlan } from '../../src/redirect/plan-print.ts';
import { redirectPlan } from '../../src/redirect/plan.ts';

const OPTIONS: NfqueueOptions = {
  proxyUid: 14_014,
  excludeInboundPorts: [],
  excludeOutboundPorts: [],
  excludeOutboundCidrs: [],
  queues: { first: 14_100, count: 2 },
  marks: new Marks(),
};
const EXCLUDING: NfqueueOptions = {
  ...OPTIONS,
  excludeInboundPorts: [9_100],
  excludeOutboundPorts: [53],
  excludeOutboundCidrs: ['169.254.169.254/32', 'fd00::/8'],
  queues: { first: 7, count: 5 },
  marks: new Marks(0xff),
};

t.test('nfqueue plan: the rules are these', (t) => {
  for (const [name, options] of [
    ['nfqueue-plain', OPTIONS],
    ['nfqueue-excluding', EXCLUDING],
  ] as const) {
    const golden = readFileSync(join(import.meta.dirname, `golden/${name}.iptables`), 'utf8');
    t.equal(printedPlan(nfqueuePlan(options), 'iptables'), golden, name);
  }
  t.throws(() => printedPlan(nfqueuePlan(OPTIONS), 'nft'), { message: /is set by iptables/ });
  t.end();
});

t.test('nfqueue plan: no queue is bypassed, and every chain that queues ends so', (t) => {
  for (const options of [OPTIONS, EXCLUDING]) {
    t.notMatch(printedPlan(nfqueuePlan(options), 'iptables'), /bypass|fanout/);
    for (const { table, rules, of } of nfqueuePlan(options).chains) {
      if (of !== undefined) continue;
      const last = rules.at(-1)!;
      if (table === 'mangle') t.match(last, { when: [], then: { queue: Number } });
      if (table === 'raw') t.match(last, { when: [{ kind: 'opening' }], then: { queue: Number } });
      if (table === 'filter') t.match(last, { when: [], then: 'refuse' });
    }
  }
  t.end();
});

t.test('nfqueue plan: no mark lets a SYN or a SYN-ACK pass but that of a verdict', (t) => {
  const { anyVerified, own } = OPTIONS.marks;
  for (const { name, rules } of nfqueuePlan(OPTIONS).chains) {
    for (const { then, when } of rules) {
      if (then !== 'pass') continue;
      const kinds = when.map(({ kind }) => kind);
      if (kinds.includes('connectionMark')) {
        t.match(when[0], anyVerified);
        t.ok(kinds.includes('notSyn'), name);
      }
      if (kinds.includes('marked')) t.ok(kinds.includes('notOpening') || kinds.includes('notSyn'), name);
      const packetMark = when.find(({ kind }) => kind === 'packetMark');
      if (packetMark !== undefined && 'value' in packetMark && packetMark.value === own.value) {
        t.ok(kinds.includes('user'), `${name}: only the proxy's own sockets`);
      }
    }
  }
  t.end();
});

t.test('nfqueue plan: a SYN for the listener that nat passes over is dropped, not reset', (t) => {
  const { stream } = OPTIONS.marks;
  const { rules } = nfqueuePlan(OPTIONS).chains.find(({ name }) => name === 'outbound_filter')!;
  const late = rules.findIndex(({ when }) =>
    when.some((match) => 'value' in match && match.value === stream.value),
  );
  t.match(rules[late], { then: 'drop', when: [{ kind: 'packetMark', ...stream }, { kind: 'opening' }] });
  t.ok(
    late > rules.findIndex(({ when }) => when.some(({ kind }) => kind === 'rewritten')),
    'what nat redirects passes',
  );
  t.end();
});

t.test('nfqueue plan: of ICMP nothing is dropped but errors about SYN-ACKs, over IPv4', (t) => {
  const four = iptablesPlan(4, nfqueuePlan(OPTIONS), iptablesState(''));
  const about = (text: string): string[] => text.split('\n').filter((line) => line.includes('-p icmp'));
  t.match(about(four), [
    /^-I INPUT .*-j COUNTERSIGN_ERRORS$/,
    /3\/0 .*! --ctstatus ASSURED .*DROP/,
    /3\/1 .*! --ctstatus ASSURED .*DROP/,
  ]);
  t.equal(about(four).length, 3);
  t.strictSame(about(iptablesPlan(6, nfqueuePlan(OPTIONS), iptablesState(''))), []);
  t.end();
});

t.test('nfqueue plan: a packet of a verified connection leaves each chain by its first rule', (t) => {
  for (const options of [OPTIONS, EXCLUDING]) {
    const { value, mask } = options.marks.anyVerified;
    for (const { name, table, rules, of } of nfqueuePlan(options).chains) {
      if (of !== undefined) continue;
      // Of a connection that is there, nat asks no rule; before conntrack there is no mark.
      if (table === 'nat') continue;
      const when =
        table === 'raw'
          ? [{ kind: 'notOpening' }]
          : [{ kind: 'connectionMark', value, mask }, { kind: 'notSyn' }];
      t.strictSame({ when: rules[0]!.when, then: rules[0]!.then }, { when, then: 'pass' }, name);
    }
  }
  t.end();
});

t.test('nfqueue plan: strangers cannot fill the queue of the pod itself', (t) => {
  const queues = nfqueuePlan(EXCLUDING).chains.flatMap(({ name, rules }) =>
    rules.flatMap(({ why, then }) =>
      typeof then === 'object' && 'queue' in then ? [`${name}: ${why}: ${then.queue}+${then.count}`] : [],
    ),
  );
  t.strictSame(queues, [
    'opening: calls to the pod are judged: 8+4',
    'queue_in: answers to the pod are judged: 7+1',
    'queue_in: calls to the pod are judged: 8+4',
    'queue_out: answers of the pod are judged: 8+4',
    'queue_out: calls of the pod are judged: 7+1',
  ]);
  t.end();
});

t.test('nfqueue plan: queues that are none are refused, with the flag', (t) => {
  for (const [queues, expected] of [
    [{ first: 1, count: 1 }, /--queues 1: has to be a number from 2 to 64/],
    [{ first: 1, count: 65 }, /--queues 65/],
    [{ first: 65_535, count: 2 }, /--first-queue 65535: has to be a number from 0 to 65534/],
    [{ first: 0.5, count: 2 }, /--first-queue/],
  ] as const) {
    t.throws(() => nfqueuePlan({ ...OPTIONS, queues }), { name: 'UserError', message: expected });
  }
  t.throws(() => nfqueuePlan({ ...OPTIONS, proxyUid: 0 }), { message: /not root/ });
  t.end();
});

t.test('nfqueue plan: changing the mode replaces the other one', (t) => {
  const before = iptablesState(printedPlan(nfqueuePlan(OPTIONS), 'iptables').split('# ip6')[0]!);
  const text = iptablesPlan(4, redirectPlan(OPTIONS), { ...before, jumps: [] });
  t.match(text, /^\*raw\n-F COUNTERSIGN_OPENING\n-X COUNTERSIGN_OPENING\nCOMMIT/);
  t.match(text, /-X COUNTERSIGN_QUEUE_IN\n/);
  t.match(text, /-X COUNTERSIGN_QUEUE_OUT\n/);
  for (const [, name] of iptablesScratch(4, nfqueuePlan(EXCLUDING), (4_194_304).toString(36)).matchAll(
    /^:(\S+)/gm,
  )) {
    t.ok(name!.length <= 28, String(name));
  }
  t.end();
});

const SAVED = `*mangle
:COUNTERSIGN_QUEUE_OUT - [0:0]
-A COUNTERSIGN_QUEUE_OUT -p tcp -j CONNMARK --set-xmark 0xc500000/0xff00000
-A COUNTERSIGN_QUEUE_OUT -p tcp -j NFQUEUE --queue-num 14100
-A OUTPUT -j MARK --set-xmark 0x4000/0x4000
-A OUTPUT -j MARK --set-xmark 0x1/0xffffffff
-A OUTPUT -j CONNMARK --set-xmark 0x100000/0x100000
-A PREROUTING -m connmark --mark 0x100000/0x100000 -j ACCEPT
-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffff --ctmask 0xffff
-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffff
-A PREROUTING -j CONNMARK --save-mark
-A PREROUTING -j NFQUEUE --queue-num 14101
-A PREROUTING -j NFQUEUE --queue-balance 14000:14100
-A PREROUTING -j NFQUEUE --queue-num 14102
COMMIT
`;

t.test(
  'nfqueue surroundings: rules of others that write into our marks or queues are found, and no other',
  (t) => {
    t.strictSame(foreignMarks(SAVED, OPTIONS.marks.mask), [
      'mangle: -A OUTPUT -j MARK --set-xmark 0x1/0xffffffff',
      'mangle: -A OUTPUT -j CONNMARK --set-xmark 0x100000/0x100000',
      'mangle: -A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffff',
      'mangle: -A PREROUTING -j CONNMARK --save-mark',
    ]);
    t.strictSame(foreignQueues(SAVED, OPTIONS.queues), [
      'mangle: -A PREROUTING -j NFQUEUE --queue-num 14101',
      'mangle: -A PREROUTING -j NFQUEUE --queue-balance 14000:14100',
    ]);
    const listing = `table inet countersign {\n ct mark set 1\n}\ntable ip mangle {\n meta mark set 1\n}\ntable inet other {\n chain c {\n  tcp dport 1 meta mark set 0x1\n }\n}`;
    t.strictSame(foreignNftMarks(listing), ['tcp dport 1 meta mark set 0x1']);
    t.end();
  },
);

t.test('nfqueue tools: a complaint about a missing part names its module', (t) => {
  for (const [complaint, expected] of [
    ['Warning: Extension NFQUEUE revision 0 not supported, missing kernel module?', /modprobe xt_NFQUEUE/],
    ['Warning: Extension connmark revision 0 not supported, missing kernel module?', /modprobe xt_connmark/],
    ['Warning: Extension mark revision 0 not supported, missing kernel module?', /modprobe xt_mark/],
    [
      "iptables v1.8.9 (legacy): can't initialize iptables table `raw': Table does not exist",
      /modprobe iptable_raw/,
    ],
    [
      "ip6tables v1.8.9 (legacy): can't initialize ip6tables table `raw': Table does not exist",
      /modprobe ip6table_raw/,
    ],
  ] as const) {
    t.match(remedyFor(complaint), expected, complaint);
  }
  t.end();
});
