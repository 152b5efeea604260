/**
 * What a resumed connection of NFQUEUE mode costs in TypeScript, CPU microseconds of both sides together, in one process and without a kernel:
 *
 *     node bench/flows.ts [--rounds 20] [--allocations]
 *
 * The packets of a handshake go from one real proxy to the other by a simulated kernel, whose cost is in the figure, too. Sockets, netlink and
 * the file of flows are not. `--allocations` says instead where bytes are allocated, of both sides, by function.
 */
import { Session } from 'node:inspector/promises';
import { count, flagsOf, yes } from './flags.ts';
import { webAndDb } from '../test/nfqueue/web-and-db.ts';

const CONNECTIONS = 500;
const values = flagsOf(
  'bench/flows.ts',
  "What NFQUEUE mode's TypeScript takes for a connection, without a kernel.",
  {
    rounds: count('how often it is measured', 20),
    allocations: yes('tell what is allocated instead, by function'),
  },
);

const ends: (() => Promise<unknown>)[] = [];
const { network } = webAndDb({ teardown: (end) => ends.push(end) });
const pods = [network.client, network.server];

/** One connection, to the moment at which the kernel has it. */
function connect(index: number): void {
  network.connect({ sourcePort: 20_000 + index });
  network.client.tcp.connect();
  network.run();
  if (network.client.tcp.state !== 'established')
    throw new Error(`a connection is ${network.client.tcp.state}`);
}

/** Ends what is open. */
function end(): void {
  network.wire.length = 0;
  for (const { proxy, pod } of pods) {
    for (const one of [...proxy.flows.values()]) proxy.end(one);
    pod.records.length = 0;
    pod.counts.length = 0;
  }
  for (const { path } of pods) path.marks.clear();
}

function round(): number {
  const before = process.cpuUsage();
  for (let index = 0; index < CONNECTIONS; index++) connect(index);
  const { user, system } = process.cpuUsage(before);
  end();
  return (user + system) / CONNECTIONS;
}

for (let count = 0; count < 10; count++) round();
if (values.allocations) await allocations();
else {
  const samples = Array.from({ length: values.rounds }, round).sort((one, other) => one - other);
  const [least, median, most] = [samples[0]!, samples[samples.length >> 1]!, samples.at(-1)!];
  process.stdout.write(`resumed ${median.toFixed(0)} us [${least.toFixed(0)}..${most.toFixed(0)}]\n`);
}
for (const close of ends) await close();
process.exit(0);

async function allocations(): Promise<void> {
  const session = new Session();
  session.connect();
  const bytes = new Map<string, number>();
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: 512,
    includeObjectsCollectedByMinorGC: true,
    includeObjectsCollectedByMajorGC: true,
  });
  for (let count = 0; count < 4; count++) round();
  const { profile } = await session.post('HeapProfiler.stopSampling');
  const visit = ({ callFrame, selfSize, children }: (typeof profile)['head']): void => {
    const where = `${callFrame.functionName} ${callFrame.url.split('/').pop()}:${callFrame.lineNumber + 1}`;
    bytes.set(where, (bytes.get(where) ?? 0) + selfSize);
    children.forEach(visit);
  };
  visit(profile.head);
  const sorted = [...bytes].sort(([, one], [, other]) => other - one);
  const whole = sorted.reduce((sum, [, one]) => sum + one, 0);
  process.stdout.write(`${(whole / 4 / CONNECTIONS).toFixed(0)} bytes per connection\n`);
  for (const [where, one] of sorted.slice(0, 50)) {
    process.stdout.write(`${(one / 4 / CONNECTIONS).toFixed(0).padStart(8)} ${where}\n`);
  }
}
