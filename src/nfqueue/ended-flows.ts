import { setImmediate as nextTurn } from 'node:timers/promises';
import { foundOf, recordsOf } from './pass-records.ts';
import type { QueueProxy } from './queue-proxy.ts';
import type { QueuedFlow } from './queued-flow.ts';

/** The handshake of a connection that is older will not be asked for again. */
const SETTLED_MS = 120_000;
/** So many are looked at, about two milliseconds, and then others on the event loop have their turn: there may be a hundred thousand. */
const AT_ONCE = 500;

/**
 * Ends the flows that are over. The kernel does not tell it otherwise: no packet of theirs is queued.
 *
 * A flow that has ended is not judged again when policy changes, and its packets pass by its mark. So conntrack is not believed alone: whoever can
 * send raw packets can show it a RST that the sockets do not believe (its window is not checked, see `encodeMark`), and forgets a connection that rests
 * some seconds after one. A flow has ended when its socket has, too; its next packet is queued then, and marks the connection again.
 * @returns milliseconds that it took, without what others on the event loop did meanwhile
 */
export async function endGoneFlows(proxy: QueueProxy): Promise<number> {
  const counted = proxy.path.countsBytes;
  const { entered } = proxy;
  let left = entered.size;
  let begun = performance.now();
  let took = 0;
  let some: QueuedFlow[] = [];
  // Those that come meanwhile stand behind, and those that go are left out.
  for (const one of entered.values()) {
    if (left-- === 0) break;
    if (one.established) some.push(one);
    if (some.length < AT_ONCE) continue;
    lookAt(proxy, some, counted);
    some = [];
    took += performance.now() - begun;
    await nextTurn();
    begun = performance.now();
  }
  lookAt(proxy, some, counted);
  return took + performance.now() - begun;
}

function lookAt(proxy: QueueProxy, flows: readonly QueuedFlow[], counted: boolean): void {
  const records = recordsOf(flows, counted);
  proxy.path.markEnded(records);
  for (const [index, one] of flows.entries()) {
    const { ended, original, reply } = foundOf(records, index);
    if (original + reply > 0) one.counted = { bytesIn: original, bytesOut: reply };
    if (ended) proxy.end(one);
    else if (performance.now() - one.startedAt > SETTLED_MS) one.settle();
  }
}
