import t from 'tap';
import {
  carrierCompliance,
  type CarriedCall,
  type CarriedMessage,
  type CarrierWorld,
  type MakeWorld,
  typeOfMessage,
} from '../support/carrier-compliance.ts';
import { Simulation, type SimulatedPod } from './simulation.ts';
import { End } from './simulated-socket.ts';

/** The carrier of redirect mode: messages at the beginning of the stream, between sidecars on simulated sockets. */
const makeWorld: MakeWorld = (prepare) => {
  const simulation = new Simulation();
  const client = simulation.pod('web', { app: 'web' });
  const server = simulation.pod('db', { app: 'db' });
  const plain = simulation.pod('plain', { app: 'web' }, { sidecar: false });
  prepare({ client, server });
  simulation.publish();
  const messages: CarriedMessage[] = [];
  /** What the client's side of the last call said, application and all. */
  let said: Uint8Array[] = [];
  const world: CarrierWorld = {
    simulation,
    client,
    server,
    plain,
    messages,
    tamper: undefined,
    lead: (address) => simulation.leads.set(address, server.address),
    call: ({ to = server.address, says = 'x' } = {}) => {
      said = [];
      return carried(simulation, [server, plain], () => client.connect(to), says);
    },
    callOfPlain: (says) => carried(simulation, [server], () => plain.connect(server.address), says),
    replay: () => {
      const [near, far] = End.pair();
      return carried(simulation, [server], () => {
        const source = { address: client.address, port: 51_000 };
        simulation.arrive(source, { address: server.address, port: 80 }, far, true);
        for (const bytes of said) near.write(bytes);
        return near;
      });
    },
    close: async () => {
      await Promise.all([client.proxy!.close(), server.proxy!.close()]);
    },
  };
  for (const [from, pod] of [
    ['client', client],
    ['server', server],
  ] as const) {
    pod.dataPath!.onMessage = (bytes) => {
      const message = { from, type: typeOfMessage(bytes), bytes: bytes.slice() };
      messages.push(message);
      if (from === 'client') said.push(message.bytes);
      return world.tamper?.(message) ?? bytes;
    };
  }
  return world;
};

/** Makes a call and waits until it has come to something. */
async function carried(
  simulation: Simulation,
  servers: readonly SimulatedPod[],
  connect: () => End,
  says?: string,
): Promise<CarriedCall> {
  const before = new Set(servers.flatMap(({ accepted }) => accepted));
  const app = connect();
  if (says !== undefined) app.say(says);
  const call: CarriedCall = {
    served: () =>
      servers
        .flatMap(({ accepted }) => accepted)
        .filter((end) => !before.has(end))
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
}

carrierCompliance(t, 'stream', makeWorld);
