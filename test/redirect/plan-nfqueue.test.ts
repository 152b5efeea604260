import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Marks } from '../../src/nfqueue/marks.ts';
import { remedyFor } from '../../src/redirect/plan-complaint.ts';
import { foreignMarks, foreignNftMarks, foreignQueues } from '../../src/redirect/plan-foreign.ts';
import { iptablesPlan, iptablesScratch, iptablesState } from '../../src/redirect/plan-iptables.ts';
import { type NfqueueOptions, nfqueuePlan } from '../../src/redirect/plan-nfqueue.ts';
import { nftPlan } from '../../src/redirect/plan-nft.ts';
import { queueTargets } from '../../src/redirect/plan-nft-hooks.ts';
import { queueChain } from '../../src/redirect/plan-nft-text.ts';
import { printedPlan } from '../../src/redirect/plan-print.ts';
import type { Match, Rule } from '../../src/redirect/plan-rules.ts';
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
    for (const backend of ['nft', 'iptables'] as const) {
      const golden = readFileSync(join(import.meta.dirname, `golden/${name}.${backend}`), 'utf8');
      t.equal(printedPlan(nfqueuePlan(options), backend), golden, `${name}.${backend}`);
    }
  }
  t.end();
});

t.test('nfqueue plan: no queue is bypassed, and every chain that queues ends so', (t) => {
  for (const options of [OPTIONS, EXCLUDING]) {
    t.notMatch(printedPlan(nfqueuePlan(options), 'iptables'), /bypass|fanout/);
    for (const { table, rules, of } of nfqueuePlan(options).chains) {
      if (of !== undefined) continue;
      const last = rules.at(-1)!;
      if (table === 'mangle') t.match(last, { when: [], then: { queue: Number } });
      if (table === 'raw') t.match(last, { when: [], then: { queue: Number } });
      if (table === 'filter') t.match(last, { when: [], then: 'refuse' });
    }
  }
  t.end();
});

t.test('nfqueue plan: by nft no packet of an open connection meets a second rule at a hook', (t) => {
  for (const options of [OPTIONS, EXCLUDING]) {
    const mark = (is: '==' | '!='): RegExp => new RegExp(`^ct mark & 0x[0-9a-f]{8} ${is} 0x[0-9a-f]{8} `);
    for (const [chain, policy, first] of [
      ['prerouting', 'accept', /^tcp flags & \(syn \| ack\) == syn .*jump opening$/],
      ['input', 'drop', mark('==')],
      ['output', 'drop', mark('==')],
      ['output_behind_nat', 'accept', mark('!=')],
    ] as const) {
      const [hook, ...rules] = linesOf(options, chain);
      t.match(hook, `policy ${policy};`, chain);
      t.match(rules[0], first, chain);
      if (policy === 'drop') t.match(rules[0], / tcp flags & syn != syn accept /, chain);
      else t.equal(rules.length, 1, chain);
    }
  }
  t.end();
});

t.test('nfqueue plan: by nft every chain is led to at a hook, and the filters behind the queues', (t) => {
  for (const { name, table } of nfqueuePlan(OPTIONS).chains) {
    if (table === 'nat') continue;
    const hooks = ['prerouting', 'input', 'output', 'output_behind_nat'].filter((hook) =>
      linesOf(OPTIONS, hook).some((line) => line.endsWith(`jump ${name}`)),
    );
    t.equal(hooks.length, 1, name);
  }
  const input = linesOf(OPTIONS, 'input').map((line) => /jump (\S+)$/.exec(line)?.[1]);
  t.ok(input.indexOf('queue_in') < input.indexOf('inbound_filter'));
  t.end();
});

t.test('nfqueue plan: by nft a chain to queues drops until its queue is known', (t) => {
  for (const [options, chains] of [
    [OPTIONS, ['queue_14101', 'queue_14100']],
    [EXCLUDING, ['queues_8_to_11', 'queue_7']],
  ] as const) {
    const targets = queueTargets(nfqueuePlan(options)).map(queueChain);
    t.strictSame(targets, chains);
    for (const chain of chains) t.match(linesOf(options, chain).at(-1), /^drop /, chain);
    for (const chain of ['opening', 'queue_in', 'queue_out'])
      t.match(linesOf(options, chain).at(-1), /^jump queue/, chain);
  }
  t.end();
});

/** The lines of a chain, as nft reads them. */
function linesOf(options: NfqueueOptions, chain: string): string[] {
  const text = nftPlan(nfqueuePlan(options));
  const body = text.split(`  chain ${chain} {\n`)[1]!.split('\n  }')[0]!;
  return body.split('\n').map((line) => line.trim());
}

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

t.test(
  'nfqueue plan: a packet of a verified connection meets one rule behind a jump, and that without a comment',
  (t) => {
    for (const options of [OPTIONS, EXCLUDING]) {
      const { value, mask } = options.marks.anyVerified;
      for (const { name, table, entry, rules, of } of nfqueuePlan(options).chains) {
        // Of a connection that is there, nat asks no rule.
        if (of !== undefined || table === 'nat') continue;
        if (table === 'raw') t.strictSame(entry, [{ kind: 'opening' }], name);
        else if (table === 'filter')
          t.strictSame(entry, [{ kind: 'otherConnectionMark', value, mask }], name);
        else {
          t.equal(entry, undefined, name);
          const { when, then, bare } = rules[0]!;
          const expected = [{ kind: 'connectionMark', value, mask }, { kind: 'notSyn' }];
          t.strictSame({ when, then, bare }, { when: expected, then: 'pass', bare: true }, name);
        }
      }
      const text = iptablesPlan(4, nfqueuePlan(options), iptablesState(''));
      t.notMatch(text, /^-I .*comment/m, 'no jump has one');
    }
    t.end();
  },
);

t.test(
  'nfqueue plan: a packet without a connection, which no filter sees, is dropped or queued where it is judged',
  (t) => {
    const [queueIn, queueOut] = (['queue_in', 'queue_out'] as const).map(
      (name) => nfqueuePlan(EXCLUDING).chains.find((chain) => chain.name === name)!.rules,
    );
    const syn = { opening: true } as const;
    for (const [what, rules, packet, expected] of [
      ['a SYN that came past its queue', queueIn, syn, 'drop'],
      ['a SYN for the listener', queueIn, { ...syn, mark: EXCLUDING.marks.stream.value }, 'drop'],
      ['an accepted SYN', queueIn, { ...syn, mark: EXCLUDING.marks.accepted.value }, 'pass'],
      ['what is sent to the inbound listener', queueIn, { to: 14_006 }, 'drop'],
      ['what is sent to the outbound listener', queueIn, { to: 14_001 }, 'drop'],
      ['any other packet that comes', queueIn, {}, 'queue'],
      ['what is sent to an excluded port', queueIn, { to: 9_100 }, 'pass'],
      ['a SYN that nat would not redirect', queueOut, syn, 'drop'],
      ['what the listener sends', queueOut, { from: 14_006 }, 'drop'],
      ['what is sent as if to an excluded port', queueOut, { to: 53 }, 'drop'],
      ['any other packet that goes', queueOut, {}, 'queue'],
    ] as const) {
      t.equal(fate(rules!, packet), expected, what);
    }
    t.end();
  },
);

interface Packet {
  readonly opening?: true;
  readonly mark?: number;
  readonly from?: number;
  readonly to?: number;
}

/** What becomes of a packet of another user than the proxy, from afar or to there, of which conntrack knows nothing. */
function fate(rules: readonly Rule[], packet: Packet): string {
  for (const { when, then } of rules) {
    if (!when.every((match) => holds(match, packet)) || then === 'mark' || then === 'unmark') continue;
    return typeof then === 'string' ? then : Object.keys(then)[0]!;
  }
  return 'pass';
}

function holds(match: Match, { opening, mark = 0, from = 40_000, to = 8_080 }: Packet): boolean {
  switch (match.kind) {
    case 'port':
      return match.ports.includes(match.of === 'source' ? from : to);
    case 'notPort':
      return match.port !== (match.of === 'source' ? from : to);
    case 'packetMark':
      return (mark & match.mask) >>> 0 === match.value;
    case 'loopback':
      return !match.is;
    case 'opening':
      return opening === true;
    case 'notSyn':
    case 'notOpening':
      return opening !== true;
    case 'withoutConnection':
    case 'invalid':
    case 'otherUser':
      return true;
    case 'user':
    case 'network':
    case 'foreignDestination':
    case 'foreignSource':
    case 'direction':
    case 'rewritten':
    case 'marked':
    case 'connectionMark':
    case 'otherConnectionMark':
    case 'reset':
    case 'unreachable':
    case 'aboutFirstAnswer':
      return false;
  }
}

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
