import type { Connection } from './connection.ts';
import { Flow } from './flow.ts';
import { refuse } from './refusing.ts';
import type { Surroundings } from './surroundings.ts';
import { endOf, ownEnd } from './view.ts';

/** Ends an accepted connection for which there is no room: reset, counted and recorded as any other that is refused. Nothing of it is read. */
export function refuseBeyondLimit(connection: Connection, why: 'all' | 'source', around: Surroundings): void {
  const { role, peer, local, original } = connection.accepted;
  const view = around.view();
  const outgoing = role === 'outbound';
  const flow = new Flow(around.sink, connection, {
    direction: role,
    peer: 'unproven',
    handshake: 'none',
    source: outgoing ? ownEnd(view, peer) : endOf(view, peer),
    destination: endOf(view, original ?? local),
  });
  refuse(flow, 'connection-limit', why === 'all' ? 'in all' : 'this source has its share of them');
}
