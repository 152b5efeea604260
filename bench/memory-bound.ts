/**
 * What becomes of a sidecar in a container's memory when others open connections without end (root; one to three minutes for each line): two callers, as many connections as they get, at a
 * server whose sidecar lives in a cgroup of its own with that memory, as an injected one.
 *
 *   node bench/memory-bound.ts [--mode nfqueue|redirect] [--memory 128] [--max-connections N]
 *
 * Prints how many were open, what the kernel charged at most, and whether the sidecar lives; exit status 1 when it does not. With `--max-connections 900000` there is no bound to
 * speak of, and it says where that ends. Needs `make bundle`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { memoryBytes } from '../src/inject/settings.ts';
import { count, flagsOf, oneOf, text } from './flags.ts';
import { parseSmaps } from './memory.ts';
import { Place } from './place.ts';
import { POLICIES } from './sidecar-variants.ts';
import { Sidecars } from './sidecars.ts';

const FIRST_PORT = 9000;
/** A caller is a process, which may have some 20,000 descriptors in many containers. */
const PORTS = 6;
const EACH = 16_000;
const PATIENCE_MS = 240_000;

const values = flagsOf(
  'bench/memory-bound.ts',
  'What becomes of a sidecar when others open connections without end (root).',
  {
    mode: oneOf('the mode of all three pods', ['nfqueue', 'redirect'], 'nfqueue'),
    memory: count("MiB of the server's sidecar", 128, 65_536),
    'max-connections': text('the bound of that sidecar, its own choice unless told', 'N'),
  },
);
const carrier = values.mode;
const most = values['max-connections'];
const memory = `${values.memory}Mi`;
const bytes = memoryBytes(memory)!;

const two = existsSync('/sys/fs/cgroup/cgroup.controllers');
const hierarchy = two ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
const group = join(hierarchy, `countersign-bench-${process.pid}`);
const read = (file: string): number => Number(readFileSync(join(group, file), 'utf8'));

const place = new Place();
const { cluster } = place;
const callers = ['client', 'other'];
const flows = place.writable;
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=777', 'tmpfs', flows]);
mkdirSync(group);
writeFileSync(join(group, two ? 'memory.max' : 'memory.limit_in_bytes'), String(bytes));
let lives = false;
try {
  lives = await run();
} finally {
  execFileSync('umount', ['--lazy', flows]);
  place.close();
  await gone();
}
process.exit(lives ? 0 : 1);

async function run(): Promise<boolean> {
  const ports = Array.from({ length: PORTS }, (_, at) => FIRST_PORT + at);
  cluster.write(
    'policies.yaml',
    POLICIES.replaceAll(`{port: ${FIRST_PORT}}`, `{port: ${FIRST_PORT}, endPort: ${FIRST_PORT + PORTS}}`),
  );
  const { four: address } = cluster.pod('server', { labels: { role: 'server' }, mode: carrier });
  for (const name of callers) cluster.pod(name, { labels: { role: 'client' }, mode: carrier });
  for (const host of ['server', ...callers]) place.quieten(host);
  for (const port of ports) await place.serve('server', port);
  const large = new Sidecars(place, 'bundle', undefined, '2Gi');
  const bounded = new Sidecars(place, 'bundle', undefined, memory);
  const flags = most === undefined ? {} : { maxConnections: most };
  await bounded.start('server', { carrier, ...flags });
  await bounded.stop('server');
  for (const name of callers) await large.start(name, { carrier, maxConnections: '900000' });
  // A child is in its parent's cgroup from the start.
  const [own, procs] = [ownGroup(), join(group, 'cgroup.procs')];
  writeFileSync(procs, String(process.pid));
  const launched = bounded.launch('server', { carrier, seesCgroup: true, ...flags });
  writeFileSync(join(own, 'cgroup.procs'), String(process.pid));
  await launched;
  await sleep(5_000);
  const idle = usage();
  const before = resident(bounded.pid('server'));

  const holders = ports.map((port, at) =>
    cluster.network.start(callers[at % 2]!, [place.load, 'hold', address, String(port), String(EACH)]),
  );
  const all = Promise.all(
    holders.map(async ({ stdout, stderr }) => {
      stderr!.resume();
      for await (const line of createInterface({ input: stdout! }))
        return JSON.parse(line) as { held: number };
      return { held: 0 };
    }),
  );
  let seen = 0;
  const looking = setInterval(() => {
    const looked = bounded
      .metrics('server')
      .then((text) => (seen = Math.max(seen, sumOf(text, 'countersign_open_connections'))));
    looked.catch(() => {});
  }, 300);
  const held = await Promise.race([all, sleep(PATIENCE_MS, [] as { held: number }[])]);
  await sleep(3_000);
  clearInterval(looking);
  const { exitCode, signalCode } = bounded.child('server');
  const alive = exitCode === null && signalCode === null;
  const metrics = alive ? await bounded.metrics('server') : '';
  const number = (name: string): number => sumOf(metrics, name);
  const figures = {
    mode: carrier,
    memory,
    lives: alive,
    ended: alive ? undefined : (signalCode ?? exitCode),
    answered: held.map(({ held: one }) => one).reduce((sum, one) => sum + one, 0),
    seenOpen: seen,
    open: number('countersign_open_connections'),
    limit: number('countersign_connection_limit'),
    beyond: number('countersign_connections_beyond_limit_total'),
    chargedMiB: {
      idle: mib(idle),
      now: mib(usage()),
      most: mib(read(two ? 'memory.peak' : 'memory.max_usage_in_bytes')),
      socketBuffers: two ? undefined : mib(read('memory.kmem.tcp.usage_in_bytes')),
      kernel: two ? undefined : mib(read('memory.kmem.usage_in_bytes')),
    },
    residentMiB: { idle: mib(before), now: alive ? mib(resident(bounded.pid('server'))) : undefined },
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (!alive) process.stderr.write(`${bounded.log('server').slice(-1_500)}\n`);
  for (const holder of holders) holder.kill('SIGKILL');
  return alive;
}

function sumOf(metrics: string, name: string): number {
  const lines = [...metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)$`, 'gm'))];
  return lines.reduce((sum, [, one]) => sum + Number(one), 0);
}

function ownGroup(): string {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
  const line = lines.find((one) => (two ? one.startsWith('0::') : /^\d+:memory:/.test(one)))!;
  return join(hierarchy, line.slice(line.indexOf(':', line.indexOf(':') + 1) + 1));
}

function usage(): number {
  return read(two ? 'memory.current' : 'memory.usage_in_bytes');
}

function resident(pid: number): number {
  return parseSmaps(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')).resident;
}

function mib(count: number): number {
  return Math.round(count / 104_857.6) / 10;
}

/** Whoever was in it ends with the place. */
async function gone(): Promise<void> {
  for (const deadline = Date.now() + 30_000; existsSync(group); await sleep(100)) {
    try {
      rmdirSync(group);
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}
