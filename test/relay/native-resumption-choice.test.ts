import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { decodeFrame } from '../../src/handshake/frames.ts';
import type { Hello } from '../../src/handshake/frame-types.ts';
import type { Endpoint } from '../../src/lib/address.ts';
import { ServerEnd } from '../handshake/parties.ts';
import { ResumptionRig, until } from '../support/resumption-rig.ts';

/** One of the servers behind the destination: it counts the Hellos that it gets, and answers them if it is told to. */
class Candidate {
  readonly endpoint: Endpoint;
  readonly counters: bigint[] = [];
  readonly #server: net.Server;

  private constructor(server: net.Server) {
    this.#server = server;
    this.endpoint = { address: '127.0.0.1', port: (server.address() as net.AddressInfo).port };
  }

  static async start(t: Test, rig: ResumptionRig): Promise<Candidate> {
    const server = net.createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const candidate = new Candidate(server);
    const sockets = new Set<net.Socket>();
    server.on('connection', (socket) => {
      sockets.add(socket);
      let received: Buffer = Buffer.alloc(0);
      let answered = false;
      socket
        .on('error', () => {})
        .on('data', (bytes: Buffer) => {
          received = Buffer.concat([received, bytes]);
          if (answered || received.length < 12 || received.length < 12 + received.readUInt16BE(10)) return;
          answered = true;
          candidate.counters.push((decodeFrame(received) as Hello).offers[0]!.counter);
          const end = new ServerEnd(
            rig.world.server(rig.server, { sessions: rig.sessions }),
            rig.world.clock,
          );
          end.receive(received);
          socket.write(end.out[0]!);
        });
    });
    t.teardown(() => {
      candidate.stop();
      for (const socket of sockets) socket.destroy();
    });
    return candidate;
  }

  stop(): void {
    this.#server.close();
  }
}

async function three(t: Test): Promise<{ rig: ResumptionRig; candidates: Candidate[] }> {
  const rig = new ResumptionRig();
  t.teardown(() => rig.stop());
  await rig.start('outbound');
  const candidates = [];
  for (let index = 0; index < 3; index++) candidates.push(await Candidate.start(t, rig));
  return { rig, candidates };
}

function choose(rig: ResumptionRig, among: readonly Candidate[], lifetimeMs = 60_000): void {
  const candidates = among.map(({ endpoint }) => endpoint);
  rig.dataPath.resumption.choiceOutbound({ lifetimeMs, dialled: rig.listening, candidates });
}

function pass(rig: ResumptionRig, { endpoint }: Candidate, first: bigint): void {
  rig.passOutbound({ target: endpoint, ofSeveral: true, first });
}

/** So many connections, one after the other; each is established or accepted before the next one. */
async function connect(rig: ResumptionRig, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const before = rig.passed.length + rig.accepts.length;
    const { socket } = await rig.connect();
    // What is established is told when it is asked for; `tell` does not wait for the next batch.
    await until(() => {
      rig.dataPath.resumption.tell();
      return rig.passed.length + rig.accepts.length > before;
    }, 'an outcome');
    socket.destroy();
  }
}

/** A third of so many, give or take eight standard deviations: beyond them once in 10^15 runs. */
function isThird(t: Test, found: number, of: number, what: string): void {
  const deviation = Math.sqrt((of * 2) / 9);
  t.ok(Math.abs(found - of / 3) < 8 * deviation, `${what}: ${found} of ${of}`);
}

t.test('choice: connections spread evenly over the candidates, each by its own pass', async (t) => {
  const { rig, candidates } = await three(t);
  choose(rig, candidates);
  for (const [index, candidate] of candidates.entries()) pass(rig, candidate, BigInt(index + 1) * 10_000n);
  await connect(rig, 600);
  t.strictSame(rig.accepts, [], 'TypeScript was not asked');
  for (const [index, { counters }] of candidates.entries()) {
    isThird(t, counters.length, 600, `candidate ${index}`);
    const first = BigInt(index + 1) * 10_000n;
    t.strictSame(
      counters,
      Array.from({ length: counters.length }, (_, at) => first + BigInt(at)),
      'the counters of its own pass, each once',
    );
  }
});

t.test(
  'choice: a pick without a pass is accepted with the pick, so that the spread stays even',
  async (t) => {
    const { rig, candidates } = await three(t);
    const [one, two, without] = candidates as [Candidate, Candidate, Candidate];
    choose(rig, candidates);
    pass(rig, one, 10_000n);
    pass(rig, two, 20_000n);
    await connect(rig, 600);
    isThird(t, one.counters.length, 600, 'the first');
    isThird(t, two.counters.length, 600, 'the second');
    isThird(t, rig.accepts.length, 600, 'the one without a pass');
    t.equal(without.counters.length, 0, 'which the data thread does not call');
    for (const { accepted } of rig.accepts) {
      if (
        JSON.stringify(accepted.picked) !== JSON.stringify(without.endpoint) ||
        accepted.begun !== undefined
      )
        t.fail(`accepted with ${JSON.stringify(accepted)}`);
    }
  },
);

t.test('choice: attacks and changes reach nobody who may not be picked', async (t) => {
  const { rig, candidates } = await three(t);
  const [one, two, removed] = candidates as [Candidate, Candidate, Candidate];
  choose(rig, candidates);
  for (const [index, candidate] of candidates.entries()) pass(rig, candidate, BigInt(index + 1) * 10_000n);
  choose(rig, [one, two]);
  await connect(rig, 60);
  t.equal(
    removed.counters.length,
    0,
    'a candidate that is none any more gets nothing by the pass that it had',
  );
  t.equal(one.counters.length + two.counters.length, 60);

  rig.dataPath.resumption.revoke();
  await connect(rig, 20);
  t.equal(one.counters.length + two.counters.length, 60, 'after a revocation nobody is called');
  t.equal(rig.accepts.length, 20);
  t.ok(rig.accepts.every(({ accepted }) => accepted.picked === undefined && accepted.begun === undefined));

  pass(rig, one, 40_000n);
  await connect(rig, 5);
  t.equal(rig.accepts.length, 25, 'a pass of several leads nowhere without a choice');

  choose(rig, [one, two], 1);
  const over = performance.now() + 2;
  await until(() => performance.now() > over, 'the end of the choice');
  await connect(rig, 5);
  t.equal(rig.accepts.length, 30, 'nor by a choice that is over');
  t.equal(one.counters.length + two.counters.length, 60);

  rig.passOutbound({ target: two.endpoint, first: 50_000n });
  choose(rig, [one]);
  await connect(rig, 5);
  t.equal(two.counters.at(-1)! < 50_000n, true, 'a choice replaces the sole pass for the same destination');
});

t.test('choice: a candidate that is not there is left to TypeScript, with the pick', async (t) => {
  const { rig, candidates } = await three(t);
  const [gone] = candidates as [Candidate];
  choose(rig, [gone]);
  pass(rig, gone, 10_000n);
  gone.stop();
  await connect(rig, 1);
  t.strictSame(rig.accepts[0]!.accepted.picked, gone.endpoint);
  t.equal(rig.accepts[0]!.accepted.begun, undefined);
});

t.test('choice: a choice of nobody, of too many, or of something else is refused', async (t) => {
  const { rig } = await three(t);
  const { resumption } = rig.dataPath;
  const choice = (candidates: readonly Endpoint[]) => ({
    lifetimeMs: 1_000,
    dialled: rig.listening,
    candidates,
  });
  const endpoint = { address: '10.0.0.1', port: 80 };
  t.equal(resumption.choiceOutbound(choice([])), false);
  t.equal(resumption.choiceOutbound(choice(Array.from({ length: 1_025 }, () => endpoint))), false);
  t.equal(resumption.choiceOutbound(choice(Array.from({ length: 1_024 }, () => endpoint))), true);
  t.throws(
    () => resumption.choiceOutbound(choice([endpoint, { address: 'no address', port: 80 }])),
    TypeError,
  );
});
