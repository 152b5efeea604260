import t from 'tap';
import { ResumptionRig, until } from '../support/resumption-rig.ts';

/** What TCP waits at least before it acknowledges on a timer: TCP_DELACK_MIN, include/net/tcp.h. Ticks of the kernel may shorten it. */
const DELAYED_ACK_MS = 40;
const CALLERS = 50;

/** How soon a second small piece follows the first one, which it may not do before that is acknowledged (Nagle). */
async function gap(rig: ResumptionRig): Promise<number> {
  const [index, served] = [rig.accepts.length, rig.upstreamSockets.length];
  const caller = await rig.connect();
  await until(() => rig.accepts.length > index, 'the connection');
  const { id } = rig.accepts[index]!;
  rig.dataPath.dial(id, rig.target, { fastOpen: false, first: new Uint8Array(0) });
  rig.dataPath.relay(id, { guard: false });
  const server = await rig.served(served);
  const times: number[] = [];
  server.socket.on('data', () => times.push(performance.now()));
  for (const piece of ['one', 'two']) {
    caller.socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await server.has(6);
  caller.socket.destroy();
  server.socket.destroy();
  return times.at(-1)! - times[0]!;
}

t.test('native data path: the first words of a stranger are acknowledged without delay', async (t) => {
  const rig = new ResumptionRig();
  t.teardown(() => rig.stop());
  await rig.start('inbound');
  const gaps: number[] = [];
  for (let count = 0; count < CALLERS; count++) {
    gaps.push(await gap(rig));
    // The fastest: of a busy machine many are slow, but of a timer each would be.
    if (Math.min(...gaps) < DELAYED_ACK_MS / 4) break;
  }
  t.ok(Math.min(...gaps) < DELAYED_ACK_MS / 4, `the second piece came after ${Math.min(...gaps)} ms`);
});
