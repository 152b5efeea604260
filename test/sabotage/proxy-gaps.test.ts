import t from 'tap';
import { HalfOpen } from '../../src/proxy/half-open.ts';
import { Simulation } from '../proxy/simulation.ts';
import { End } from '../proxy/simulated-socket.ts';

const STRANGER = { address: '10.0.0.200', port: 50_000 };

/** A connection that redirection hands to the sidecar of a pod, whatever it was made for. */
function handOver(pod: ReturnType<Simulation['pod']>, original: { address: string; port: number }): End {
  const [app, far] = End.pair();
  pod.dataPath!.accept('inbound', STRANGER, original, far, new Uint8Array(0));
  app.say('x');
  return app;
}

t.test('attack: a packet that a neighbour sends for a foreign address is relayed nowhere', async (t) => {
  const world = new Simulation();
  const beer = world.pod('beer', {});
  const other = world.pod('other', {}, { sidecar: false });
  world.publish();
  const client = handOver(beer, { address: other.address, port: 80 });
  await world.settle(100);
  t.equal(client.gone, 'reset');
  t.strictSame(beer.counts, ['inbound deny destination-not-local unproven none']);
  t.strictSame(beer.dataPath!.dialled, []);
  t.equal(other.accepted.length, 0);
});

t.test('attack: who comes straight to the listener of the sidecar is not relayed to it', async (t) => {
  const world = new Simulation();
  const beer = world.pod('beer', {});
  world.publish();
  const client = handOver(beer, { address: beer.address, port: 14_006 });
  await world.settle(100);
  t.equal(client.gone, 'reset');
  t.strictSame(beer.counts, ['inbound deny not-redirected unproven none']);
  t.strictSame(beer.dataPath!.dialled, []);
});

t.test(
  'attack: a handshake made for another pod or another port is refused behind redirection',
  async (t) => {
    const world = new Simulation();
    const beer = world.pod('beer', {});
    const client = world.pod('client', {});
    const meant = world.pod('meant', {});
    world.publish();
    // What somebody on the path does: every connection ends at beer.
    const arrive = world.arrive.bind(world);
    world.arrive = (source, _target, far, marked) =>
      arrive(source, { address: beer.address, port: 80 }, far, marked);
    client.connect(meant.address, 80).say('x');
    await world.settle(100);
    client.connect(beer.address, 81).say('x');
    await world.settle(100);
    const expected = 'inbound deny wrong-destination unproven none';
    t.strictSame(beer.counts, [expected, expected]);
    t.equal(beer.accepted.length, 0);
  },
);

t.test('attack: no session outlives a new own identity, on either side', async (t) => {
  const world = new Simulation();
  const [beer, client] = [world.pod('beer', {}), world.pod('client', {})];
  world.publish();
  for (const renewed of [undefined, beer, client, undefined]) {
    renewed?.proxy!.identityChanged();
    client.connect(beer.address).say('x');
    await world.settle(100);
  }
  t.strictSame(
    beer.counts.map((count) => count.split(' ').at(-1)),
    ['full', 'full', 'full', 'resumed'],
  );
});

t.test('half open: one source cannot take the places of the others', (t) => {
  const places = new HalfOpen({ perSource: 2, total: 3 });
  const gone: string[] = [];
  for (const name of ['b1', 'a1', 'a2', 'a3', 'c1', 'd1']) places.enter(name[0]!, () => gone.push(name));
  t.strictSame(gone, ['a1', 'b1', 'a2'], 'its own oldest first, the oldest of all when all are taken');
  t.equal(places.size, 3);
  t.end();
});
