import t from 'tap';
import { policyOf } from '../policy/world.ts';
import { DEADLINE } from '../../src/proxy/surroundings.ts';
import { Simulation } from './simulation.ts';
import { End } from './simulated-socket.ts';

/**
 * The network falls silent: so many writes of each side pass, and nothing behind them, not even its end. A handshake is Hello (client), Reply
 * (server), Proof (client), Verdict (server), each written at once.
 */
interface Passing {
  readonly client: number;
  readonly server: number;
}

function silence(world: Simulation, passing: Passing): void {
  const arrive = world.arrive.bind(world);
  world.arrive = (source, target, far, marked) => {
    const [middle, beyond] = End.pair();
    carry(far, middle, passing.client);
    carry(middle, far, passing.server);
    return arrive(source, target, beyond, marked);
  };
}

function carry(from: End, to: End, writes: number): void {
  let left = writes;
  from.onChange = () => {
    const bytes = from.take(from.unread.length);
    if (left <= 0) return;
    if (bytes.length > 0) {
      to.write(bytes);
      left--;
    }
    if (from.gone === 'reset') to.reset();
    if (from.gone === 'end') to.finish();
  };
}

/** Two pods, isolated, so that nobody is served without a proof meanwhile. */
function twoPods() {
  const world = new Simulation();
  const server = world.pod('server', {});
  const client = world.pod('client', {});
  world.policies = [
    policyOf('demo', 'proven', {
      podSelector: {},
      ingress: [{ from: [{ podSelector: {} }] }],
      policyTypes: ['Ingress'],
    }),
  ];
  world.publish();
  return { world, server, client };
}

/** What is lost, and what either side records; the rest is the same for all: both give up, and the application keeps nothing. */
const CASES = [
  {
    lost: 'the Hello',
    passing: { client: 0, server: Infinity },
    server: 'inbound deny unproven-denied unproven none',
    client: 'outbound deny handshake-timeout unproven none',
    calls: 0,
  },
  {
    lost: 'the Reply',
    passing: { client: 1, server: 0 },
    server: 'inbound deny handshake-timeout unproven none',
    client: 'outbound deny handshake-timeout unproven none',
    calls: 0,
  },
  {
    lost: 'the Proof',
    passing: { client: 1, server: 1 },
    server: 'inbound deny handshake-timeout unproven none',
    client: 'outbound deny handshake-timeout proven full',
    calls: 0,
  },
  {
    // The server has proof and said yes: its application was called, and loses the caller with the client's deadline.
    lost: 'the Verdict',
    passing: { client: Infinity, server: 1 },
    server: 'inbound allow policy-allowed proven full',
    client: 'outbound deny handshake-timeout proven full',
    calls: 1,
  },
] as const;

/** Whoever waits that long waits for ever. */
const LONG_PAST_MS = 20_000;

/** Plays one case to its end. */
async function play(passing: Passing) {
  const { world, server, client } = twoPods();
  silence(world, passing);
  const begun = performance.now();
  const app = client.connect(server.address);
  app.say('hello');
  await world.until(
    () =>
      app.gone !== undefined &&
      server.counts.length > 0 &&
      server.proxy!.connections + client.proxy!.connections === 0,
    LONG_PAST_MS,
  );
  await world.settle();
  return { server, client, app, took: performance.now() - begun };
}

/** All at once, since each takes as long as the deadline. */
const played = CASES.map(({ passing }) => play(passing));
for (const one of played) one.catch(() => undefined); // each test hears of its own

for (const [index, { lost, server: inbound, client: outbound, calls }] of CASES.entries())
  t.test(
    `deadline: with ${lost} lost on the way neither side waits for ever, and the caller is reset`,
    async (t) => {
      const { server, client, app, took } = await played[index]!;
      t.ok(took >= DEADLINE.firstBytes - 100, 'after a deadline, not before');
      t.equal(app.gone, 'reset');
      t.strictSame([server.counts, client.counts], [[inbound], [outbound]]);
      t.strictSame(
        server.accepted.map((one) => one.gone),
        Array.from({ length: calls }, () => 'reset'),
        'its application keeps nothing',
      );
    },
  );
