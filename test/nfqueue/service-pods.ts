import { loadAddon } from '../../src/native.ts';
import { clock } from '../../src/nfqueue/clock.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import type { FlowTuple } from '../../src/nfqueue/packet-path.ts';
import { finishPacket, hasRightChecksum, write16 } from '../../src/nfqueue/packets-checksum.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { Simulation } from '../proxy/simulation.ts';
import { NO_EVENTS } from '../support/no-events.ts';
import { MiniTcp } from './mini-tcp.ts';
import { allowFrom } from './policies.ts';
import { type Fate, QueuedPod } from './queued-network.ts';
import { packetOf } from './wire-reading.ts';

const PORTS = { service: 80, target: 8_080 };

/** Who a packet of the wire is from: the client, or a server by its place. */
export type Sender = 'client' | number;

/** What is a connection's own. */
export interface Call {
  /** The place of the server to which the network leads it. */
  readonly to: number;
  readonly sourcePort?: number;
  readonly initial?: number;
  readonly serverInitial?: number;
}

/**
 * A pod `web` that calls the address of a Service, the pods behind that, and a network between them that does what kube-proxy does: it leads each connection
 * to one of them, and lets the answers come from the Service.
 */
export class ServicePods {
  readonly simulation = new Simulation();
  readonly address: string;
  readonly client: QueuedPod;
  readonly servers: readonly QueuedPod[];
  /** Every packet that was on the wire, as it was sent. */
  readonly wire: { from: Sender; bytes: Uint8Array }[] = [];
  onPacket: (bytes: Uint8Array, from: Sender) => Uint8Array = (bytes) => bytes;
  fates: Fate[] = [];
  linux = true;
  readonly #paths: NativeDataPath[] = [];
  readonly #way: { to: QueuedPod; bytes: Uint8Array }[] = [];
  readonly #late: { to: QueuedPod; bytes: Uint8Array }[] = [];
  /** Conntrack of the network: where connections were led, by the client's port. */
  readonly #led = new Map<number, number>();
  #ports = 40_000;

  /** @param passes false: the same without passes, which is how it should turn out with them */
  constructor(servers: number, passes = true, six = false) {
    this.address = six ? 'fd00:96::10' : '10.96.0.10';
    this.simulation.policies = [allowFrom('db', 'web')];
    const pod = (name: string, app: string, index: number) => {
      const path = passes ? new NativeDataPath(loadAddon(), NO_EVENTS) : undefined;
      if (path !== undefined) this.#paths.push(path);
      return this.simulation.pod(
        name,
        { app },
        {
          ...(six ? { address: `fd00::${index + 1}` } : {}),
          ...(path === undefined ? {} : { resumption: path.resumption }),
        },
      );
    };
    this.client = new QueuedPod(pod('web', 'web', 0), (bytes) => this.#carry('client', bytes));
    this.servers = Array.from(
      { length: servers },
      (_, index) => new QueuedPod(pod(`db-${index}`, 'db', index + 1), (bytes) => this.#carry(index, bytes)),
    );
    this.serve(this.servers.map((_, index) => index));
  }

  get all(): QueuedPod[] {
    return [this.client, ...this.servers];
  }

  /** From here on these servers are behind the Service. */
  serve(places: readonly number[]): void {
    const endpoints = places.map((place) => ({
      address: this.servers[place]!.pod.address,
      port: PORTS.target,
      ready: true,
      servingWhileTerminating: false,
      nodeName: 'node-1',
    }));
    this.simulation.services.splice(0, 1, {
      address: this.address,
      port: PORTS.service,
      service: {
        namespace: 'demo',
        service: 'db',
        clientIpAffinity: false,
        localTraffic: false,
        endpoints,
      },
    });
    this.simulation.publish();
  }

  /** Two calls to each, and one more: sessions, and passes on both sides for what all of them offer. */
  warm(): void {
    for (let round = 0; round < 3; round++) {
      for (let to = 0; to < this.servers.length; to++) this.connect({ to });
    }
    for (const { path } of this.all) path.passed = 0;
  }

  /** Packets that passes have decided so far. */
  get passed(): number[] {
    return this.all.map(({ path }) => path.passed);
  }

  /** A connection of the client's application to the Service; nothing is sent before its `connect`. */
  open({ to, sourcePort = this.#ports++, initial = 1_000, serverInitial = 900_000 }: Call): void {
    const family = this.client.pod.address.includes(':') ? 6 : 4;
    const own = addressBytes(this.client.pod.address)!;
    const server = this.servers[to]!;
    const out: FlowTuple = {
      family,
      sourceAddress: own,
      sourcePort,
      destinationAddress: addressBytes(this.address)!,
      destinationPort: PORTS.service,
    };
    const back: FlowTuple = {
      family,
      sourceAddress: addressBytes(server.pod.address)!,
      sourcePort: PORTS.target,
      destinationAddress: own,
      destinationPort: sourcePort,
    };
    this.#led.set(sourcePort, to);
    this.client.tcp = new MiniTcp(out, initial, this.client.send);
    for (const one of this.servers) one.tcp = new MiniTcp(back, serverInitial, one.send);
    server.tcp.state = 'listen';
    for (const { tcp } of this.all) tcp.linux = this.linux;
  }

  /** One connection, to its end on the wire. */
  connect(call: Call): void {
    this.open(call);
    this.client.tcp.connect();
    this.run();
  }

  run(): void {
    for (let count = 0; count < 10_000; count++) {
      const next = this.#way.shift() ?? this.#late.shift();
      if (next === undefined) return;
      next.to.receive(next.bytes);
      next.to.pod.proxy!.surroundings.passes.giveNow();
    }
    throw new Error('the network does not come to rest');
  }

  /** Lets the ends of the connection to this server say again what has no answer. */
  retransmit(to: number): void {
    for (const { tcp } of [this.client, this.servers[to]!]) {
      tcp.retransmit();
      this.run();
    }
  }

  /** Lets so many milliseconds pass for all proxies, in steps of 200. */
  pass(milliseconds: number): void {
    const from = clock();
    for (let passed = 200; passed <= milliseconds; passed += 200) {
      const now = { monotonic: from.monotonic + passed, epochSeconds: from.epochSeconds + passed / 1000 };
      for (const { proxy } of this.all) proxy.tick(now);
      this.run();
    }
  }

  /** A packet of the client as it arrives at a server, whatever is in it: the network has translated its destination. */
  deliver(bytes: Uint8Array, to: number): void {
    const server = this.servers[to]!;
    this.#way.push({ to: server, bytes: translated(bytes, 'destination', server.pod.address, PORTS.target) });
    this.run();
  }

  async end(): Promise<void> {
    await Promise.all(this.all.map(({ proxy }) => proxy.close()));
    await Promise.all(this.#paths.map((path) => path.close()));
  }

  #carry(from: Sender, sent: Uint8Array): void {
    this.wire.push({ from, bytes: sent.slice() });
    const fate = this.fates.shift() ?? 1;
    const bytes = this.onPacket(sent.slice(), from);
    const arrival = from === 'client' ? this.#toServer(bytes, sent) : this.#toClient(bytes);
    if (fate === 1 || fate === 2) this.#way.push(arrival);
    if (fate === 2) this.#way.push({ ...arrival, bytes: arrival.bytes.slice() });
    if (fate === 3) this.#late.push(arrival);
    else this.#way.push(...this.#late.splice(0));
  }

  #toServer(bytes: Uint8Array, sent: Uint8Array): { to: QueuedPod; bytes: Uint8Array } {
    // What was changed on the way is led where the packet was going.
    const to = this.servers[this.#led.get(packetOf(sent).sourcePort) ?? 0]!;
    return { to, bytes: translated(bytes, 'destination', to.pod.address, PORTS.target) };
  }

  #toClient(bytes: Uint8Array): { to: QueuedPod; bytes: Uint8Array } {
    return { to: this.client, bytes: translated(bytes, 'source', this.address, PORTS.service) };
  }
}

/** The packet with another end; a checksum that was wrong stays wrong, since the network changes it by the difference. */
function translated(
  sent: Uint8Array,
  end: 'source' | 'destination',
  address: string,
  port: number,
): Uint8Array {
  const bytes = sent.slice();
  const packet = tcpIn(bytes);
  if (packet === undefined) return bytes;
  const { family, tcpAt } = packet;
  const right = hasRightChecksum(packet);
  const [sourceAt, length] = family === 4 ? [12, 4] : [8, 16];
  bytes.set(addressBytes(address)!, end === 'source' ? sourceAt : sourceAt + length);
  write16(bytes, end === 'source' ? tcpAt : tcpAt + 2, port);
  finishPacket(bytes, family, tcpAt);
  if (!right) bytes[tcpAt + 16]! ^= 0x55;
  return bytes;
}

function tcpIn(bytes: Uint8Array) {
  try {
    return packetOf(bytes);
  } catch {
    return undefined;
  }
}
