import t from 'tap';
import { frameAtStart } from '../../src/nfqueue/carrier-frames.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { buildPacket, withPayload } from '../../src/nfqueue/packets-build.ts';
import { finishPacket, write16 } from '../../src/nfqueue/packets-checksum.ts';
import { payloadOf, TCP_FLAG } from '../../src/nfqueue/packets.ts';
import {
  carrierCompliance,
  type CarriedCall,
  type CarriedMessage,
  type CarrierWorld,
  type MakeWorld,
  typeOfMessage,
} from '../support/carrier-compliance.ts';
import { Simulation } from '../proxy/simulation.ts';
import { QueuedNetwork } from './queued-network.ts';
import { packetOf } from './wire-reading.ts';

/** The carrier of NFQUEUE mode: messages on the packets of TCP's handshake; what a verdict redirects goes to the same sidecar's listeners. */
const makeWorld: MakeWorld = (prepare) => {
  const simulation = new Simulation();
  const web = simulation.pod('web', { app: 'web' });
  const db = simulation.pod('db', { app: 'db' });
  const plain = simulation.pod('plain', { app: 'web' }, { sidecar: false });
  prepare({ client: web, server: db });
  const network = new QueuedNetwork(simulation, web, db);
  const { client, server } = network;
  const messages: CarriedMessage[] = [];
  let led: { from: Uint8Array; to: Uint8Array } | undefined;
  const world: CarrierWorld = {
    simulation,
    client: web,
    server: db,
    plain,
    messages,
    tamper: undefined,
    lead: (address) => {
      led = { from: addressBytes(address)!, to: addressBytes(db.address)! };
    },
    call: async ({ to = db.address, says = 'x' } = {}) => {
      const redirected = client.redirected.length;
      network.wire.length = 0;
      network.connect({ to });
      client.tcp.connect();
      client.tcp.write(says);
      network.run();
      if (client.redirected.length > redirected) return byListener(() => web.connect(to), says);
      return onPackets();
    },
    callOfPlain: async (says) => {
      // Its own kernel's SYN has no message in it, and so it is the listener's.
      const redirected = server.redirected.length;
      const tuple = {
        family: 4 as const,
        sourceAddress: addressBytes(plain.address)!,
        sourcePort: 40_000,
        destinationAddress: addressBytes(db.address)!,
        destinationPort: 80,
      };
      server.receive(buildPacket(tuple, { sequence: 5, acknowledgement: 0, flags: TCP_FLAG.syn }));
      if (server.redirected.length === redirected) throw new Error('it was not redirected');
      return byListener(() => plain.connect(db.address), says);
    },
    replay: async () => {
      const packets = network.wire.filter(({ from }) => from === 'client').map(({ bytes }) => bytes);
      network.connect({ sourcePort: 51_000 });
      client.tcp.state = 'syn-sent';
      for (const bytes of packets) {
        const again = bytes.slice();
        write16(again, 20, 51_000);
        finishPacket(again, 4, 20);
        server.receive(again);
        network.run();
      }
      return onPackets();
    },
    close: async () => {
      await Promise.all([client.proxy.close(), server.proxy.close()]);
      await Promise.all([web.proxy!.close(), db.proxy!.close()]);
      if (client.defects.length + server.defects.length > 0) throw new AggregateError(client.defects);
    },
  };

  const onPackets = async (): Promise<CarriedCall> => {
    const [near, far] = [client.tcp, server.tcp];
    await simulation.settle();
    return {
      served: () => far.received,
      heard: () => near.received,
      isReset: () => near.state === 'reset',
      say: async (text) => {
        near.write(text);
        network.run();
        await simulation.settle();
      },
    };
  };

  const byListener = async (
    connect: () => ReturnType<typeof web.connect>,
    says: string,
  ): Promise<CarriedCall> => {
    const before = [plain, db].map(({ accepted }) => accepted.length);
    const app = connect();
    app.say(says);
    const call: CarriedCall = {
      served: () =>
        [plain, db]
          .flatMap(({ accepted }, index) => accepted.slice(before[index]))
          .map((end) => end.text)
          .join(''),
      heard: () => app.text,
      isReset: () => app.gone === 'reset',
      say: async (text) => {
        app.say(text);
        await simulation.settle();
      },
    };
    await simulation.until(() => call.served() !== '' || call.isReset());
    await simulation.settle();
    return call;
  };

  network.onPacket = (bytes, from) => {
    const packet = packetOf(bytes);
    if (led !== undefined) translate(bytes, from, led);
    const frame = frameAtStart(packet);
    if (frame === undefined) {
      finishPacket(bytes, 4, 20);
      return bytes;
    }
    const message = { from, type: typeOfMessage(frame), bytes: frame.slice() };
    messages.push(message);
    const changed = world.tamper?.(message) ?? frame;
    const rest = payloadOf(packet).subarray(frame.length);
    // Of another length it ends where the stream begins all the same.
    const sequence =
      (packet.flags & TCP_FLAG.syn) === 0 ? packet.sequence + frame.length - changed.length : undefined;
    return withPayload(packet, [changed, rest], sequence);
  };
  for (const pod of [web, db]) {
    pod.dataPath!.onMessage = (bytes) => {
      const from = pod === web ? 'client' : 'server';
      const message = { from, type: typeOfMessage(bytes), bytes: bytes.slice() } as const;
      messages.push(message);
      return world.tamper?.(message) ?? bytes;
    };
  }
  return world;
};

/** What a relaying attacker does with addresses. */
function translate(
  bytes: Uint8Array,
  from: 'client' | 'server',
  led: { from: Uint8Array; to: Uint8Array },
): void {
  if (from === 'client') bytes.set(led.to, 16);
  else bytes.set(led.from, 12);
}

carrierCompliance(t, 'packet', makeWorld);
