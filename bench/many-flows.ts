/**
 * Part of `make soak`: 100,000 connections of NFQUEUE mode that are open at once between two pods, through real queues (root; two to five minutes).
 *
 * Each has to get its answer, and to be in the table of both sidecars. With all of them open further ones are made, and then policy ends every one, while the server's sidecar
 * is asked whether it lives. Prints what a sidecar holds for each, how long it takes to end all, the slowest answer meanwhile, and the CPU time of the longest turn of each event loop since
 * both were ready, as JSON; exit status 1 when anything is not so.
 */
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { flagsOf } from './flags.ts';
import { runLoad } from './load-program.ts';
import { parseSmaps } from './memory.ts';
import { Place } from './place.ts';
import { POLICIES } from './sidecar-variants.ts';
import { Sidecars } from './sidecars.ts';
import { longestTurn } from './turns.ts';

const FIRST_PORT = 9000;
/** Applications and callers: a process may have some 20,000 descriptors in many containers. */
const PORTS = 6;
const EACH = 16_700;
const WANTED = PORTS * EACH;
/** On a slow machine beside other work; a quiet one needs less than a minute. */
const PATIENCE_MS = 300_000;
/** What a table of so many takes, and V8 beside it. */
const MEMORY = '2Gi';

flagsOf('bench/many-flows.ts', '100,000 open connections of NFQUEUE mode, and their end (root).', {});

const place = new Place();
const { cluster } = place;
const turns = join(cluster.program, 'turns.ts');
copyFileSync(join(import.meta.dirname, 'turns.ts'), turns);
const sidecars = new Sidecars(place, 'source', undefined, MEMORY, [
  `--import=file://${turns}?to=${place.writable}`,
]);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    process.stderr.write(`\n${signal}: cleaning up\n`);
    place.close();
    process.exit(130);
  });
}

const wrong: string[] = [];
try {
  await run();
} finally {
  place.close();
}
process.exit(wrong.length > 0 ? 1 : 0);

async function run(): Promise<void> {
  const policies = POLICIES.replaceAll(
    `{port: ${FIRST_PORT}}`,
    `{port: ${FIRST_PORT}, endPort: ${FIRST_PORT + PORTS}}`,
  );
  cluster.write('policies.yaml', policies);
  const { four: address } = cluster.pod('server', { labels: { role: 'server' }, mode: 'nfqueue' });
  cluster.pod('client', { labels: { role: 'client' }, mode: 'nfqueue' });
  for (const host of ['server', 'client']) place.quieten(host);
  const ports = Array.from({ length: PORTS }, (_, at) => FIRST_PORT + at);
  // The last one is for those that come while all the others are open.
  for (const port of [...ports, FIRST_PORT + PORTS]) await place.serve('server', port);
  await Promise.all(
    ['server', 'client'].map((name) =>
      sidecars.start(name, { carrier: 'nfqueue', maxConnections: '200000' }),
    ),
  );
  const idle = resident();

  const begin = Date.now();
  const holders = ports.map((port) =>
    cluster.network.start('client', [place.load, 'hold', address, String(port), String(EACH)]),
  );
  const held = await Promise.all(
    holders.map(async ({ stdout, stderr }) => {
      stderr!.resume();
      for await (const line of createInterface({ input: stdout! }))
        return JSON.parse(line) as { held: number; why: string };
      return { held: 0, why: 'the program ended' };
    }),
  );
  const seconds = (Date.now() - begin) / 1000;
  for (const { held: count, why } of held)
    if (count !== EACH) wrong.push(`${count} of ${EACH} connections of a program: ${why}`);
  await becomes('open', WANTED);
  process.stderr.write(`${WANTED} connections are open after ${seconds.toFixed(0)} s\n`);
  const grown = resident().map((bytes, at) => Math.round((bytes - idle[at]!) / WANTED));

  const more = { kind: 'rate', seconds: 2, number: 16 } as const;
  const report = await runLoad(
    cluster.network,
    'client',
    place.load,
    { address, port: FIRST_PORT + PORTS },
    more,
  );

  const cutting = Date.now();
  const busy = cpuSeconds('server');
  cluster.write('policies.yaml', policies.replace('{role: client}}}]', '{role: nobody}}}]'));
  // The client's kernel may not hear of it: of so many RSTs at once some are lost on the way, and who rests sends nothing that would be answered.
  const asking = new AbortController();
  const slowest = slowestAnswer('server', asking.signal);
  await becomes('cut', 0, ['server']);
  const cut = (Date.now() - cutting) / 1000;
  const cpuOfCut = cpuSeconds('server') - busy;
  asking.abort();
  const secondsForHealthz = await slowest;
  for (const holder of holders) holder.kill('SIGKILL');
  await becomes('over', 0);
  const [client, server] = ['client', 'server'].map((pod) =>
    longestTurn(place.writable, sidecars.pid(pod), begin),
  );
  if (wrong.length > 0) for (const pod of ['client', 'server']) await tellDenials(pod);
  const figures = {
    connections: WANTED,
    seconds,
    bytesPerConnection: { client: grown[0], server: grown[1] },
  };
  const beside = { connections: report.connections, p50: report.p50, p99: report.p99 };
  process.stdout.write(
    `${JSON.stringify({ ...figures, beside, secondsToCutAll: cut, cpuSecondsToCutAll: cpuOfCut, secondsForHealthz, longestTurnCpuMs: { client, server }, wrong })}\n`,
  );
}

/** Why a connection may have failed: what its sidecar denied, by reason. */
async function tellDenials(pod: string): Promise<void> {
  const text = await sidecars.metrics(pod);
  for (const [line] of text.matchAll(/^countersign_connections_total\{[^}]*verdict="deny".*$/gm))
    process.stderr.write(`${pod}: ${line}\n`);
}

/** User and system time of a sidecar (proc(5), in hundredths). */
function cpuSeconds(pod: string): number {
  const fields = readFileSync(`/proc/${sidecars.pid(pod)}/stat`, 'utf8')
    .split(') ')[1]!
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function resident(): number[] {
  return ['client', 'server'].map(
    (pod) => parseSmaps(readFileSync(`/proc/${sidecars.pid(pod)}/smaps_rollup`, 'utf8')).resident,
  );
}

/** Waits until the sidecars say that so many connections are open. */
async function becomes(what: string, wanted: number, pods = ['client', 'server']): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(500)) {
    const counts = await Promise.all(pods.map(openConnections));
    if (counts.every((count) => count === wanted)) return;
    if (Date.now() > deadline) {
      const seen = counts.map((count) => count ?? 'no answer').join(' and ');
      wrong.push(`${what}: ${seen} connections in ${pods.join(' and ')} instead of ${wanted}`);
      return;
    }
  }
}

/** How long a sidecar let the slowest question wait whether it lives, seconds, of those that are asked one after the other until `over`. */
async function slowestAnswer(pod: string, over: AbortSignal): Promise<number> {
  const probe = ['curl', '-s', '-o', '/dev/null', '-w', '%{time_total} %{http_code}', '--max-time', '60'];
  let slowest = 0;
  do {
    const { out } = await cluster.network.run(pod, [...probe, 'http://127.0.0.1:14020/healthz'], {
      timeoutMs: PATIENCE_MS,
    });
    const [seconds, code] = out.split(' ');
    if (code !== '200') wrong.push(`healthz of ${pod}: ${code} after ${seconds} s`);
    slowest = Math.max(slowest, Number(seconds));
    await sleep(20);
  } while (!over.aborted);
  return slowest;
}

/** Undefined where a sidecar does not answer in time. */
async function openConnections(pod: string): Promise<number | undefined> {
  let text: string;
  try {
    text = await sidecars.metrics(pod);
  } catch {
    return undefined;
  }
  const shown = [...text.matchAll(/^countersign_open_connections\{[^}]*\} (\d+)$/gm)];
  return shown.reduce((sum, [, count]) => sum + Number(count), 0);
}
