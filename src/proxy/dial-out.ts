import type { Endpoint } from '../lib/address.ts';
import type { DialOptions } from '../relay/data-path.ts';
import type { Connection, ConnectionEvent } from './connection.ts';

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
