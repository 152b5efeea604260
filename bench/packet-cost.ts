/**
 * What netfilter costs the packets of an open connection, in CPU time alone, which other work on the machine does not change much (root, half a minute):
 *
 *     node bench/packet-cost.ts [--rounds 20] [--trips 4000] [--bytes 64] [--only direct,nft]
 *
 * Connections between pairs of namespaces, both ends of all in one thread (round-trips.c): 64 bytes there, or `--bytes`, and 64 back. `none`: no netfilter.
 * `conntrack`: connections are tracked. `direct`: tracked, and nat has hooks, as in `make bench` and wherever kube-proxy or a CNI is. The others: the rules of
 * NFQUEUE mode, set by that tool, and the connection marked as verified. Prints nanoseconds of CPU per round trip: median and quarter of the rounds.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Marks } from '../src/nfqueue/marks.ts';
import { DEFAULT_QUEUES } from '../src/nfqueue/queue-numbers.ts';
import { nfqueuePlan } from '../src/redirect/plan-nfqueue.ts';
import { printedPlan } from '../src/redirect/plan-print.ts';
import { compile } from './load-program.ts';
import { Place } from './place.ts';
import { inTurn } from './plan.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    trips: { type: 'string', default: '4000' },
    bytes: { type: 'string', default: '64' },
    only: { type: 'string', default: 'none,conntrack,direct,nft,iptables-legacy,iptables-nft' },
  },
});
const PORT = '9000';
/** Enough that what the verdict would leave behind is there: every packet of the connection passes here once. */
const SETTLING_TRIPS = 3;

const marks = new Marks();
const verified = `ct mark set 0x${marks.verified(0).toString(16)}`;
/** Marks the connection while it opens; gone before anything is measured. */
const MARKING = `table inet marking {
  chain out { type filter hook output priority 10; ${verified}; }
  chain in { type filter hook input priority 10; ${verified}; }
}\n`;
const TRACKED = 'table inet tracked { chain unused { ct state new accept; }; }\n';
const NAT = ['output', 'prerouting']
  .map((hook) => `chain ${hook} { type nat hook ${hook} priority -100; tcp dport 1 redirect; }`)
  .join('\n');
const iptables = printedPlan(
  nfqueuePlan({
    proxyUid: 14_014,
    excludeInboundPorts: [],
    excludeOutboundPorts: [],
    excludeOutboundCidrs: [],
    queues: DEFAULT_QUEUES,
    marks,
  }),
  'iptables',
).split('# ip6tables')[0]!;

interface Variant {
  readonly command: readonly string[];
  readonly input: string;
}
const APPLY = [join(import.meta.dirname, '../bin/countersign'), 'redirect', 'apply', '--mode', 'nfqueue'];
const VARIANTS: Record<string, Variant | undefined> = {
  none: undefined,
  conntrack: { command: ['nft', '-f', '-'], input: TRACKED },
  direct: { command: ['nft', '-f', '-'], input: `table inet nat {\n${NAT}\n}\n` },
  nft: { command: [...APPLY, '--backend', 'nft'], input: '' },
  'iptables-legacy': { command: ['iptables-legacy-restore', '--noflush'], input: iptables },
  'iptables-nft': { command: ['iptables-nft-restore', '--noflush'], input: iptables },
};

const names = flags.only.split(',');
const unknown = names.find((name) => !(name in VARIANTS));
if (unknown !== undefined) {
  process.stderr.write(`--only ${unknown}: has to be among ${Object.keys(VARIANTS).join(', ')}\n`);
  process.exit(2);
}
const place = new Place();
process.once('SIGINT', () => {
  place.close();
  process.exit(130);
});
try {
  for (const line of await measured()) process.stdout.write(`${line}\n`);
} finally {
  place.close();
}
process.exit(0);

async function measured(): Promise<string[]> {
  const { network } = place.cluster;
  const words: string[] = [];
  for (const name of names) {
    const server = network.host(`${name}-s`).four;
    network.host(`${name}-c`);
    if (VARIANTS[name] !== undefined) inBoth(name, ['nft', '-f', '-'], MARKING);
    words.push(network.name(`${name}-c`), network.name(`${name}-s`), server, PORT);
  }
  const child = spawn(compile('round-trips', place.folder), words);
  child.stderr.pipe(process.stderr);
  const ask = asking(child);
  if ((await ask('')) !== 'open') throw new Error('the connections do not open');
  for (const [at, name] of names.entries()) {
    await ask(`${at} ${SETTLING_TRIPS} 64`);
    const variant = VARIANTS[name];
    if (variant === undefined) continue;
    inBoth(name, variant.command, variant.input);
    inBoth(name, ['nft', 'delete', 'table', 'inet', 'marking'], '');
  }
  const took = names.map(() => [] as number[]);
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const at of inTurn([...names.keys()], round))
      took[at]!.push(Number(await ask(`${at} ${flags.trips} ${flags.bytes}`)));
  }
  child.stdin.end();
  return names.map((name, at) => {
    const sorted = took[at]!.toSorted((one, other) => one - other);
    const [quarter, median] = [sorted[sorted.length >> 2]!, sorted[sorted.length >> 1]!];
    return `${name.padEnd(16)} ns of CPU per round trip: median ${median.toFixed(0)}, quarter ${quarter.toFixed(0)}`;
  });
}

function inBoth(name: string, command: readonly string[], input: string): void {
  for (const end of ['c', 's']) {
    const words = ['netns', 'exec', place.cluster.network.name(`${name}-${end}`), ...command];
    execFileSync('ip', words, { input, stdio: ['pipe', 'ignore', 'inherit'] });
  }
}

/** A question is a line, and so is its answer. */
function asking(child: ChildProcessWithoutNullStreams): (question: string) => Promise<string> {
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async (question) => {
    if (question !== '') child.stdin.write(`${question}\n`);
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the program of the round trips ended');
    return value;
  };
}
