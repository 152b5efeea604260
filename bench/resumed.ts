/**
 * What a resumed connection costs two sidecars, by thread, beside HAProxy and, asked to, beside the build of another checkout; all interleaved, in
 * one place, as root:
 *
 *     node bench/resumed.ts [--mode redirect|nfqueue] [--rounds 5] [--seconds 1] [--against FOLDER] [--only haproxy,countersign]
 *
 * FOLDER holds `bundle/` and `native/build/` (make setup bundle). For each variant medians over the rounds of microseconds of CPU and of context switches per
 * connection: of both proxies, of the threads that move connections (the data threads; in NFQUEUE mode the main threads), of all others. Then wall times: rate with 32 at once, and median of one at a time. Fails when a
 * connection was not proven.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { amount, count, flagsOf, oneOf, someOf, text } from './flags.ts';
import { type LoadOrder, runLoad } from './load-program.ts';
import { Place } from './place.ts';
import { plainVariants } from './plain-variants.ts';
import { inTurn } from './plan.ts';
import { prove } from './prove.ts';
import { betweenTwoPods, POLICIES } from './sidecar-variants.ts';
import { Sidecars } from './sidecars.ts';
import { digits, spreadOf, spreadText } from './statistics.ts';
import type { Variant } from './variant.ts';

const flags = flagsOf('bench/resumed.ts', 'What a resumed connection costs two sidecars, by thread (root).', {
  mode: oneOf('of the sidecars', ['redirect', 'nfqueue'], 'redirect'),
  rounds: count('how often each is measured', 5),
  seconds: amount('of each sample', 1),
  against: text('another checkout, with bundle/ and native/build/ (make setup bundle)', 'FOLDER'),
  only: someOf('which are measured', ['haproxy', 'countersign', 'other']),
});
/** Time for what a load leaves behind to be done with. */
const SETTLE_MS = 50;

const { mode, seconds } = flags;
const wanted: readonly string[] = flags.only;

/** Of one process so far: microseconds on a CPU, and how often a thread of it went to sleep or was put aside. */
interface Use {
  readonly data: number;
  readonly rest: number;
  readonly switches: number;
}

/** kernel Documentation/scheduler/sched-stats.rst; proc(5). */
function useOf(pid: number): Use {
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) => {
    const folder = `/proc/${pid}/task/${thread}`;
    const micros = Number(readFileSync(join(folder, 'schedstat'), 'utf8').split(' ', 1)[0]) / 1000;
    const switches = readFileSync(join(folder, 'status'), 'utf8').matchAll(/ctxt_switches:\s+(\d+)/g);
    const own = [...switches].reduce((sum, [, count]) => sum + Number(count), 0);
    const isData =
      mode === 'nfqueue'
        ? thread === String(pid)
        : readFileSync(join(folder, 'comm'), 'utf8').trim() === 'data-path';
    return { micros, switches: own, isData };
  });
  const [only] = threads;
  const data = threads.length === 1 ? only! : threads.find(({ isData }) => isData);
  const all = threads.reduce((sum, { micros }) => sum + micros, 0);
  return {
    data: data?.micros ?? 0,
    rest: all - (data?.micros ?? 0),
    switches: threads.reduce((sum, thread) => sum + thread.switches, 0),
  };
}

interface Row {
  readonly cpu: number;
  readonly client: number;
  readonly server: number;
  readonly rest: number;
  readonly switches: number;
  readonly rate: number;
  readonly p50: number;
}

const place = new Place();
process.once('SIGINT', () => {
  place.close();
  process.exit(130);
});
try {
  execFileSync(process.execPath, [join(import.meta.dirname, '../tools/bundle.ts')], { stdio: 'inherit' });
  const plain = await plainVariants(place, (id) => id === 'haproxy' && wanted.includes(id), complain);
  place.cluster.write('policies.yaml', POLICIES);
  const variants: { variant: Variant; sidecars: Sidecars | undefined }[] = plain.map((variant) => ({
    variant,
    sidecars: undefined,
  }));
  const builds: [id: string, folder: string | undefined][] = [['countersign', undefined]];
  if (flags.against !== undefined) builds.push(['countersign-other', flags.against]);
  for (const [id, folder] of builds) {
    if (!wanted.includes(id.replace('countersign-', ''))) continue;
    const sidecars = new Sidecars(place, 'bundle', folder);
    const kind = { id, title: id, mode: { carrier: mode } } as const;
    variants.push({ variant: await betweenTwoPods(place, sidecars, kind), sidecars });
  }
  const rows = new Map<string, Row[]>(variants.map(({ variant }) => [variant.id, []]));
  for (let round = -1; round < flags.rounds; round++) {
    for (const one of inTurn(variants, round + 1)) {
      const row = await measure(one.variant, one.sidecars);
      if (round >= 0) rows.get(one.variant.id)!.push(row);
    }
  }
  for (const [id, measured] of rows) {
    process.stdout.write(`${id}\n`);
    for (const key of ['cpu', 'client', 'server', 'rest', 'switches', 'rate', 'p50'] as const) {
      process.stdout.write(`  ${key.padEnd(9)} ${spreadText(spreadOf(measured.map((row) => row[key]))!)}\n`);
    }
    for (const [name, others] of rows) {
      if (id !== 'countersign' || name === id) continue;
      const ratio = (key: keyof Row) =>
        digits(spreadOf(measured.map((row, at) => row[key] / others[at]![key]))!.median);
      const keys = ['cpu', 'client', 'server', 'rate', 'p50'] as const;
      process.stdout.write(`  x ${name}: ${keys.map((key) => `${key} ${ratio(key)}`).join(', ')}\n`);
    }
  }
} finally {
  place.close();
}

async function measure(variant: Variant, sidecars: Sidecars | undefined): Promise<Row> {
  const ends = [variant.client, ...variant.servers];
  const before = await sidecars?.counts(ends);
  const start = variant.proxies.map(useOf);
  const load = await run(variant, { kind: 'rate', seconds, number: 32 });
  await sleep(SETTLE_MS);
  const end = variant.proxies.map(useOf);
  const one = await run(variant, { kind: 'connect', seconds: seconds / 2, number: 1_000_000 });
  if (sidecars !== undefined)
    await prove(sidecars, ends, before!, { connections: load.connections + one.connections });
  const spent = (key: keyof Use) => end.map((use, at) => (use[key] - start[at]![key]) / load.connections);
  const [data, rest] = [spent('data'), spent('rest')];
  return {
    cpu: sum(data) + sum(rest),
    client: data[0]!,
    server: data[1]!,
    rest: sum(rest),
    switches: sum(spent('switches')),
    rate: load.connections / load.seconds,
    p50: one.p50,
  };
}

function run({ client, target }: Variant, order: LoadOrder) {
  return runLoad(place.cluster.network, client, place.load, target, order);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function complain(variant: string, error: unknown): void {
  throw new Error(`${variant}: ${String(error)}`);
}
