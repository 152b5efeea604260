import { randomBytes } from 'node:crypto';
import t from 'tap';
import { ServerSessions, type Session } from '../../src/handshake/sessions.ts';
import { ClientEnd, converse, established, type Name, type Party, ServerEnd, World } from './parties.ts';

/** Handshakes of `client` with `server`; `fresh` forgets what it could resume. @returns how the last one went */
function call(world: World, client: Party, server: Party, times: number, fresh: boolean): string | undefined {
  let how: string | undefined;
  for (let count = 0; count < times; count++) {
    if (fresh) client.clientSessions.clear();
    const from = new ClientEnd(world.client(client, server.address), world.clock);
    converse(from, new ServerEnd(world.server(server), world.clock));
    how = established(from);
  }
  return how;
}

t.test('sessions: a peer that makes one after the other keeps 64, and turns out nobody else', (t) => {
  const world = new World();
  const server = world.party('server', '10.0.0.1');
  const [honest, greedy] = [world.party('honest', '10.0.0.2'), world.party('greedy', '10.0.0.3')];
  t.equal(call(world, honest, server, 1, true), 'full server');
  call(world, greedy, server, 1, true);
  const [first] = greedy.clientSessions.offer('10.0.0.1:80', world.clock.monotonic);
  t.equal(call(world, greedy, server, 200, true), 'full server');
  t.equal(server.serverSessions.size, 65);
  t.equal(server.serverSessions.find(first!.session.id, world.clock.monotonic), undefined, 'its oldest went');
  t.equal(call(world, greedy, server, 1, false), 'resumed server', 'by its newest');
  t.equal(call(world, honest, server, 1, false), 'resumed server');
  t.end();
});

t.test(
  'sessions: what one peer may keep is counted anew when its sessions end, are dropped, or all are',
  (t) => {
    const closed: number[] = [];
    let opened = 0;
    const sessions = new ServerSessions<Name>(() => {
      const number = opened++;
      return { use: () => 'fresh', close: () => closed.push(number) };
    });
    const { session: one } = sessionOfSomebody();
    const add = (times: number, expiresAt = 2_000): Session<Name>[] =>
      Array.from({ length: times }, () => {
        const session = { ...one, id: randomBytes(16), expiresAt };
        sessions.add(session);
        return session;
      });
    const ended = add(64, 1_000);
    for (const { id } of ended) t.equal(sessions.find(id, 1_500), undefined);
    t.equal(closed.length, 64);
    const kept = add(64);
    t.ok(
      kept.every(({ id }) => sessions.find(id, 1_500) !== undefined),
      'places of those that ended are free',
    );
    sessions.dropPeers(() => true);
    t.equal(sessions.size, 0);
    add(64);
    sessions.clear();
    t.equal(closed.length, 3 * 64);
    add(70);
    t.equal(sessions.size, 64);
    t.equal(closed.length, 3 * 64 + 6, 'and whoever keeps their counters is told');
    t.end();
  },
);

function sessionOfSomebody(): { session: Session<Name> } {
  const world = new World();
  const [client, server] = [world.party('client', '10.0.0.1'), world.party('server', '10.0.0.2')];
  call(world, client, server, 1, true);
  const [offer] = client.clientSessions.offer('10.0.0.2:80', world.clock.monotonic);
  return { session: { ...offer!.session } };
}
