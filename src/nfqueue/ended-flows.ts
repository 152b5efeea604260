import { setImmediate as nextTurn } from 'node:timers/promises';
import { tupleKey } from './flow-key.ts';
import type { Marks } from './marks.ts';
import { reversedTuple } from './packets.ts';
import type { QueueProxy } from './queue-proxy.ts';
import type { QueuedFlow } from './queued-flow.ts';
import { isClosing } from './recovery.ts';

/** A connection that is younger may not be in conntrack's dump yet. */
const YOUNG_MS = 1_000;
/** The handshake of a connection that is older will not be asked for again. */
const SETTLED_MS = 120_000;
/** So many are looked at, about a millisecond, and then others on the event loop have their turn: there may be a hundred thousand. */
const AT_ONCE = 500;
/** TCP_CONNTRACK_CLOSE. */
const RESET = 8;

/**
 * Ends the flows that conntrack has no more, or only as closed. The kernel does not tell it otherwise: no packet of theirs is queued.
 *
 * A flow that has ended is not judged again when policy changes, and its packets pass by its mark. So conntrack is not believed alone: whoever can
 * send raw packets can show it a RST that the sockets do not believe (its window is not checked, see `encodeMark`), and forgets a connection that rests
 * some seconds after one. A flow has ended when its socket has, too; its next packet is queued then, and marks the connection again.
 *
 * A server that answers with SYN cookies has a socket only when the last ACK comes, and whoever calls may send a RST before it. So an entry that a RST has closed
 * goes with its flow: without it that ACK is nobody's.
 */
export async function endGoneFlows(proxy: QueueProxy, marks: Marks): Promise<void> {
  const asked = performance.now();
  const { value, mask } = marks.anyVerified;
  const entries = await proxy.path.dumpConnections(value, mask);
  const open = new Set<QueuedFlow>();
  const { entered: flows } = proxy;
  const deleted: Promise<boolean>[] = [];
  let looked = 0;
  for (const { tuple, id, tcpState, bytes } of entries) {
    if (++looked % AT_ONCE === 0) await nextTurn();
    const one = flows.get(tupleKey(tuple, true)) ?? flows.get(tupleKey(tuple, false));
    // On the ports of a closed entry a new connection may have come while the table was read.
    if (one === undefined || one.startedAt >= asked) continue;
    if (bytes !== undefined) one.counted = { bytesIn: bytes.original, bytesOut: bytes.reply };
    if (!isClosing(tcpState) || hasSocket(proxy, one)) open.add(one);
    else if (one.established) {
      if (tcpState === RESET && !one.outgoing) deleted.push(proxy.path.deleteConnection(tuple, id));
      proxy.end(one);
    }
  }
  for (const one of flows.values()) {
    if (++looked % AT_ONCE === 0) await nextTurn();
    if (!one.established) continue;
    if (!open.has(one) && asked - one.startedAt > YOUNG_MS && !hasSocket(proxy, one)) proxy.end(one);
    else if (asked - one.startedAt > SETTLED_MS) one.settle();
  }
  await Promise.all(deleted);
}

function hasSocket(proxy: QueueProxy, { tuple, outgoing, device }: QueuedFlow): boolean {
  return proxy.path.hasSocket(outgoing ? tuple : reversedTuple(tuple), device || undefined);
}
