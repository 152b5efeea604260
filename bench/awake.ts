/**
 * What NFQUEUE mode's rules cost the packets of a verified connection (root, half a minute):
 *
 *     node bench/awake.ts [--rounds 8]
 *
 * Ping-pong of 64 bytes, with the mode and without, in turn, while a program of the lowest priority keeps each CPU awake. In `make bench` a round trip
 * is mostly the waking of idle CPUs, which takes 7 or 60 us by where the scheduler puts two programs; here it is what kernel and programs do.
 * `direct` has connection tracking, nat and no rule that a packet of an open connection meets. What the rules take of the CPU alone: packet-cost.ts.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { count, flagsOf } from './flags.ts';
import { runLoad } from './load-program.ts';
import { inTurn, QUICK } from './plan.ts';
import { Session } from './session.ts';

const WANTED = ['direct', 'countersign-nfqueue'];
const flags = flagsOf(
  'bench/awake.ts',
  "What NFQUEUE mode's rules cost the packets of a verified connection (root).",
  {
    rounds: count('how often each is measured', 8),
  },
);
const times = new Map<string, number[]>();
const busy: ChildProcess[] = [];

execFileSync(process.execPath, [join(import.meta.dirname, '../tools/bundle.ts')], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
const session = new Session({ ...QUICK, patienceMs: 0 }, (id) => WANTED.includes(id));
try {
  await session.start();
  const { network } = session.place.cluster;
  for (let cpu = 0; cpu < availableParallelism(); cpu++) {
    busy.push(
      spawn('nice', ['-n', '19', 'timeout', '120', process.execPath, '-e', 'for (;;);'], { stdio: 'ignore' }),
    );
  }
  for (let round = 0; round < flags.rounds; round++) {
    for (const { id, client, target } of inTurn(session.variants, round)) {
      const order = { kind: 'ping', seconds: 0.5, number: 1_000_000 } as const;
      const { p50 } = await runLoad(network, client, session.place.load, target, order);
      times.set(id, [...(times.get(id) ?? []), p50]);
    }
  }
} finally {
  for (const child of busy) child.kill();
  session.place.close();
}
for (const [id, all] of times) {
  const sorted = all.toSorted((one, other) => one - other);
  const [least, median] = [sorted[0]!, sorted[sorted.length >> 1]!];
  process.stdout.write(`${id.padEnd(20)} ping-pong p50, us: median ${median}, least ${least}\n`);
}
process.exit(0);
