/**
 * `make soak`: two sidecars under mixed connections for a long time, while policy changes and one of them is restarted again and again (root).
 *
 *   --hours N   how long; ten minutes unless told
 *
 * Each cycle: bulk, round trips and new connections at once, with a pod that policy does not let in and one without a sidecar trying beside them;
 * then policy denies everybody, and is put back; in every third cycle the server's sidecar is ended, by SIGKILL and SIGTERM in turn, and nothing
 * may come through until it is back. At rest, descriptors and memory are read. Exit status 1 at the first wrong verdict, or for a leak.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { amount, flagsOf } from './flags.ts';
import { leaks, type RestReading } from './leak.ts';
import { type LoadOrder, type LoadReport, tryLoad } from './load-program.ts';
import { parseSmaps } from './memory.ts';
import { Place } from './place.ts';
import { duration } from './progress.ts';
import { POLICIES } from './sidecar-variants.ts';
import { Sidecars } from './sidecars.ts';

const PORT = 9000;
const PATIENCE_MS = 60_000;
const RESTART_EVERY = 3;
const BULK: LoadOrder = { kind: 'bulk', seconds: 2, number: 2 };
const RATE: LoadOrder = { kind: 'rate', seconds: 2, number: 16 };
const PING: LoadOrder = { kind: 'ping', seconds: 2, number: 1_000_000 };
const TRY: LoadOrder = { kind: 'connect', seconds: 1, number: 20 };
const PROBE: LoadOrder = { kind: 'connect', seconds: 1, number: 1 };

const { hours } = flagsOf('bench/soak.ts', 'Two sidecars under load, policy changes and restarts (root).', {
  hours: amount('how long', 1 / 6),
});

const place = new Place();
const { cluster } = place;
const sidecars = new Sidecars(place, 'source');
const wrong: string[] = [];
const totals = { cycles: 0, restarts: 0, policyChanges: 0, connections: 0, refused: 0, bytes: 0 };
const atRest = new Map<string, RestReading[]>();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    process.stderr.write(`\n${signal}: cleaning up\n`);
    place.close();
    process.exit(130);
  });
}

try {
  await run();
} finally {
  place.close();
}
const leaked = [...atRest].flatMap(([name, readings]) => leaks(readings).map((text) => `${name}: ${text}`));
process.stdout.write(`${JSON.stringify({ ...totals, wrong, leaked })}\n`);
process.exit(wrong.length + leaked.length > 0 ? 1 : 0);

async function run(): Promise<void> {
  cluster.write('policies.yaml', POLICIES);
  const address = cluster.pod('server', { labels: { role: 'server' } }).four;
  cluster.pod('client', { labels: { role: 'client' } });
  cluster.pod('stranger', { labels: { role: 'stranger' } });
  cluster.pod('bare', { labels: { role: 'client' }, sidecar: false });
  for (const host of ['server', 'client', 'stranger', 'bare']) place.quieten(host);
  await place.serve('server', PORT);
  await Promise.all(['server', 'client', 'stranger'].map((name) => sidecars.start(name)));
  const load = async (host: string, order: LoadOrder): Promise<LoadReport> => {
    const report = await tryLoad(cluster.network, host, place.load, { address, port: PORT }, order);
    totals.connections += report.connections;
    totals.refused += report.failed;
    totals.bytes += report.bytes;
    return report;
  };
  const allowed = async (what: string, host: string, order: LoadOrder): Promise<void> => {
    const { failed, why } = await load(host, order);
    if (failed > 0) wrong.push(`${what}: ${failed} connections failed: ${why}`);
  };
  const denied = async (what: string, host: string, order: LoadOrder): Promise<void> => {
    const { connections } = await load(host, order);
    if (connections > 0) wrong.push(`${what}: ${connections} connections came through`);
  };
  const becomes = async (open: boolean): Promise<void> => {
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(50)) {
      if ((await load('client', PROBE)).connections > 0 === open) return;
      if (Date.now() > deadline) throw new Error(`policy does not ${open ? 'open' : 'close'} the server`);
    }
  };

  await becomes(true);
  const begin = Date.now();
  const end = begin + hours * 3_600_000;
  while (Date.now() < end && wrong.length === 0) {
    const cycle = ++totals.cycles;
    await Promise.all([
      allowed('bulk', 'client', BULK),
      allowed('round trips', 'client', PING),
      allowed('new connections', 'client', RATE),
      denied('a pod that policy does not let in', 'stranger', TRY),
      denied('a pod without a sidecar', 'bare', TRY),
    ]);
    totals.policyChanges++;
    cluster.write('policies.yaml', POLICIES.replace('{role: client}}}]', '{role: nobody}}}]'));
    await becomes(false);
    await denied('after policy closed the server', 'client', TRY);
    cluster.write('policies.yaml', POLICIES);
    await becomes(true);
    if (cycle % RESTART_EVERY === 0) {
      totals.restarts++;
      await sidecars.stop('server', totals.restarts % 2 === 0 ? 'SIGTERM' : 'SIGKILL');
      await denied('without its sidecar', 'client', TRY);
      await sidecars.launch('server');
      await becomes(true);
    }
    // Only the client's sidecar lives through the whole run.
    await rest('client');
    const left = Math.max(0, end - Date.now()) / 1000;
    process.stderr.write(
      `cycle ${cycle}: ${totals.connections} connections, ${totals.refused} refused, ${(totals.bytes / 1e9).toFixed(1)} GB, ${totals.restarts} restarts; ${duration(left)} left\n`,
    );
  }
}

/** Waits until a sidecar has no open connection, and reads what it holds. */
async function rest(pod: string): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
    const open = [
      ...(await sidecars.metrics(pod)).matchAll(/^countersign_open_connections\{[^}]*\} (\d+)$/gm),
    ];
    if (open.length > 0 && open.every((match) => match[1] === '0')) break;
    if (Date.now() > deadline) {
      wrong.push(`${pod}: connections stay open that nobody has: ${open.map(([text]) => text).join(', ')}`);
      return;
    }
  }
  const pid = sidecars.pid(pod);
  const { resident } = parseSmaps(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
  const reading = { resident, descriptors: readdirSync(`/proc/${pid}/fd`).length };
  atRest.set(pod, [...(atRest.get(pod) ?? []), reading]);
}
