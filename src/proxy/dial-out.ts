import type { Endpoint } from '../lib/address.ts';
import type { DialOptions } from '../relay/data-path.ts';
import type { Connection, ConnectionEvent } from './connection.ts';
import type { PassSyn } from './passes.ts';
import type { FastOpenMemory } from './fast-open-memory.ts';

/** How often a dial that is refused is made, each time from another port. */
const MOST_DIALS = 3;

/**
 * Dials somebody outside the pod, and gives what came of it.
 *
 * A refusal may be our own: for some seconds after an application's call was reset, conntrack would lead a dial from the same port to the same
 * place to the proxy itself, and the outbound filter refuses that (docs/redirect.md). The kernel takes another port for every dial.
 */
export async function dialOut(
  connection: Connection,
  target: Endpoint,
  options: DialOptions,
): Promise<ConnectionEvent> {
  for (let dials = 1; ; dials++) {
    connection.dial(target, options);
    const event = await connection.next();
    const refused = event.kind === 'dialled' && event.error === 'ECONNREFUSED';
    if (!refused || dials === MOST_DIALS) return event;
  }
}

/** Dials an enrolled server: the Hello goes with the SYN where path and server allow, and the SYN is marked where the path lets it through. */
export async function dialFast(
  connection: Connection,
  target: Endpoint,
  hello: Uint8Array,
  memory: FastOpenMemory,
): Promise<ConnectionEvent> {
  const begunAt = performance.now();
  const sent = memory.contentFor(target.address, begunAt);
  const event = await dialOut(connection, target, { first: hello, ...optionsFor(sent) });
  if (event.kind === 'dialled' && event.error === undefined && event.report !== undefined) {
    memory.note(target.address, sent, begunAt, event.report, performance.now());
  }
  return event;
}

/** How a SYN to this server goes at the moment, and who is told what became of it. */
export function synFor(target: Endpoint, memory: FastOpenMemory): PassSyn {
  const sent = memory.contentFor(target.address, performance.now());
  return {
    ...optionsFor(sent),
    note: (begunAt, report) => memory.note(target.address, sent, begunAt, report, performance.now()),
  };
}

function optionsFor(content: ReturnType<FastOpenMemory['contentFor']>): {
  fastOpen: boolean;
  synData: boolean;
} {
  return { fastOpen: content !== 'nothing', synData: content === 'data' };
}
