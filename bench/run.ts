/**
 * `make bench`: what two sidecars cost, as ratios to the same traffic without any. Both variants are measured in turn, round by round, on one
 * machine; the table has the median of the rounds and their spread. Needs root.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from '../test/support/sidecars.ts';
import type { Load } from './load.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const LOADS: { what: string; unit: string; load: Omit<Load, 'address'>; higherIsBetter: boolean }[] = [
  { what: 'connect + 1 byte, p50', unit: 'ms', load: { kind: 'connect', count: 400 }, higherIsBetter: false },
  { what: 'new connections', unit: '/s', load: { kind: 'rate', count: 3_000 }, higherIsBetter: true },
  { what: 'ping-pong, p50', unit: 'ms', load: { kind: 'ping', count: 3_000 }, higherIsBetter: false },
  { what: 'bulk, 1 stream', unit: 'Gbit/s', load: { kind: 'bulk', count: 1_024 }, higherIsBetter: true },
];

const SERVER = `
const net = require('net');
net.createServer((s) => { s.setNoDelay(true); s.on('error', () => {}); s.on('data', (d) => s.write(d)); })
  .listen({ port: 9000, host: '::', backlog: 4096 });
net.createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {}); s.on('data', () => {}).on('end', () => s.end('.')); })
  .listen(9001, '::', () => console.log('up'));`;

const ends: (() => void)[] = [];
const cluster = new Cluster({ teardown: (end: () => void) => ends.push(end) });
try {
  const proven = cluster.pod('server');
  cluster.pod('client');
  const plain = cluster.pod('plain-server', { sidecar: false });
  cluster.pod('plain-client', { sidecar: false });
  await cluster.startSidecars('server', 'client');
  for (const name of ['server', 'plain-server']) await cluster.app(name, SERVER);

  const variants = [
    { name: 'direct', client: 'plain-client', address: plain.four, sidecars: [] },
    { name: 'countersign', client: 'client', address: proven.four, sidecars: ['server', 'client'] },
  ] as const;
  const results = new Map<string, number[]>();
  for (let round = 1; round <= ROUNDS; round++) {
    for (const { what, load } of LOADS) {
      for (const { name, client, address, sidecars } of variants) {
        const before = cpuSeconds(sidecars);
        const value = await measure(client, { ...load, address });
        add(`${name} ${what}`, value);
        if (sidecars.length > 0 && load.kind === 'rate') {
          add('CPU per connection', ((cpuSeconds(sidecars) - before) * 1e6) / load.count);
        }
        if (sidecars.length > 0 && load.kind === 'bulk') {
          add('CPU per GB', (cpuSeconds(sidecars) - before) / ((load.count << 20) / 1e9));
        }
        await sleep(50);
      }
    }
    process.stderr.write(`round ${round} of ${ROUNDS}\n`);
  }

  print(['', 'direct', 'two sidecars, identity and policy on every connection', 'ratio']);
  for (const { what, unit } of LOADS) {
    const [direct, ours] = [results.get(`direct ${what}`)!, results.get(`countersign ${what}`)!];
    const ratios = ours.map((value, index) => value / direct[index]!);
    print([what, `${spread(direct)} ${unit}`, `${spread(ours)} ${unit}`, spread(ratios)]);
  }
  print(['CPU of both sidecars', '', `${spread(results.get('CPU per connection')!)} us per connection`, '']);
  print(['', '', `${spread(results.get('CPU per GB')!)} s per GB`, '']);
  const memory = ['server', 'client'].map((name) => privateMegabytes(cluster.sidecarPid(name)));
  print([
    'private memory of a sidecar',
    '',
    `${memory.map((value) => value.toFixed(0)).join(' and ')} MB`,
    '',
  ]);

  function add(key: string, value: number): void {
    results.set(key, [...(results.get(key) ?? []), value]);
  }
} finally {
  for (const end of ends.toReversed()) end();
}

async function measure(client: string, load: Load): Promise<number> {
  const program = [
    join(cluster.program, '.setup/node'),
    join(import.meta.dirname, 'load.ts'),
    JSON.stringify(load),
  ];
  const { status, out, complaint } = await cluster.network.run(client, program, { timeoutMs: 120_000 });
  if (status !== 0) throw new Error(`${load.kind}: ${complaint}`);
  return JSON.parse(out) as number;
}

/** proc(5): utime and stime, in ticks of 10 ms. */
function cpuSeconds(names: readonly string[]): number {
  let ticks = 0;
  for (const name of names) {
    const stat = readFileSync(`/proc/${cluster.sidecarPid(name)}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

function privateMegabytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Private_Dirty: +(\d+)/m.exec(text)?.[1]) / 1024;
}

function spread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const text = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  const middle = sorted[Math.floor(sorted.length / 2)]!;
  return `${text(middle)} [${text(sorted[0]!)}..${text(sorted.at(-1)!)}]`;
}

function print([a = '', b = '', c = '', d = '']: readonly string[]): void {
  process.stdout.write(`${a.padEnd(28)} ${b.padEnd(34)} ${c.padEnd(54)} ${d}\n`);
}
