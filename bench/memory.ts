import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Place } from './place.ts';
import { prove } from './prove.ts';
import type { Memory } from './result.ts';
import type { Sidecars } from './sidecars.ts';
import type { Variant } from './variant.ts';

interface Smaps {
  readonly resident: number;
  readonly proportional: number;
  readonly privateDirty: number;
}

/** smaps_rollup of a process, in bytes: proc(5). */
export function parseSmaps(text: string): Smaps {
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
  return { resident: bytes('Rss'), proportional: bytes('Pss'), privateDirty: bytes('Private_Dirty') };
}

/** A sidecar has two descriptors for a connection, and some for itself. */
export function connectionsThatFit(limits: string, wanted: number): number {
  const most = Number(/^Max open files +\d+ +(\d+)/m.exec(limits)?.[1] ?? Infinity);
  return Math.min(wanted, Math.floor((most - 1_000) / 2));
}

const memoryOf = (pid: number): Smaps => parseSmaps(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
/** Longer than a sidecar takes to give back what its start, or a burst, has used: src/proxy/settle-memory.ts. */
const REST_MS = 6_000;

/**
 * What a fresh pair of sidecars holds at rest, and how much more for each of many connections that rest. Sidecars are started again for it:
 * memory that a load has made them take is theirs for good.
 */
export async function measureMemory(
  place: Place,
  sidecars: Sidecars,
  variant: Variant,
  wanted: number,
): Promise<Memory> {
  const { client, servers, target } = variant;
  const pods = [client, ...servers];
  for (const pod of pods) await sidecars.stop(pod);
  await Promise.all(pods.map((pod) => sidecars.launch(pod)));
  await sleep(REST_MS);
  const [ownPid, theirPid] = [sidecars.pid(client), sidecars.pid(servers[0]!)];
  const [idle, idleServer] = [memoryOf(ownPid), memoryOf(theirPid)];
  const count = connectionsThatFit(readFileSync(`/proc/${ownPid}/limits`, 'utf8'), wanted);
  const command = [place.load, 'hold', target.address, String(target.port), String(count)];
  const holder = place.cluster.network.start(client, command);
  holder.stderr!.resume();
  try {
    const lines = createInterface({ input: holder.stdout! })[Symbol.asyncIterator]();
    const { value } = await lines.next();
    const { held, why } = JSON.parse(String(value)) as { held: number; why: string };
    if (held !== count) throw new Error(`${held} of ${count} connections at rest: ${why}`);
    await sleep(REST_MS);
    const grown = (now: Smaps, before: Smaps): number => (now.privateDirty - before.privateDirty) / count;
    const perConnection = {
      client: grown(memoryOf(ownPid), idle),
      server: grown(memoryOf(theirPid), idleServer),
    };
    // Connections that went past the sidecars would cost them nothing. Asked last: an answer takes memory. Fresh sidecars have counted nothing before.
    const nothing = pods.map(() => new Map<string, number>());
    await prove(sidecars, pods, nothing, { connections: count });
    return { ...idle, connections: count, perConnection };
  } finally {
    holder.kill('SIGKILL');
  }
}

/** Starts a sidecar again and again. @returns milliseconds from the start of the process to ready */
export async function measureStarts(sidecars: Sidecars, pod: string, times: number): Promise<number[]> {
  const milliseconds: number[] = [];
  for (let index = 0; index < times; index++) {
    await sidecars.stop(pod);
    milliseconds.push(await sidecars.launch(pod));
  }
  return milliseconds;
}
