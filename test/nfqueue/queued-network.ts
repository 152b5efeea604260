import { Marks } from '../../src/nfqueue/marks.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import type { FlowTuple } from '../../src/nfqueue/packet-path.ts';
import { clock } from '../../src/nfqueue/clock.ts';
import { QueueProxy } from '../../src/nfqueue/queue-proxy.ts';
import { passSettings } from '../../src/nfqueue/pass-settings.ts';
import { QueuePasses } from '../../src/nfqueue/queue-passes.ts';
import { loadAddon } from '../../src/native.ts';
import type { PassUser } from '../../src/proxy/passes.ts';
import type { QueuedFlow } from '../../src/nfqueue/queued-flow.ts';
import type { Simulation, SimulatedPod } from '../proxy/simulation.ts';
import { MiniTcp } from './mini-tcp.ts';
import { SimulatedPacketPath } from './simulated-packet-path.ts';

export const MARKS = new Marks();

/** One pod with queues: a simulated kernel with one TCP connection, and the real proxy. */
export class QueuedPod {
  readonly pod: SimulatedPod;
  readonly proxy: QueueProxy;
  path!: SimulatedPacketPath;
  /** Takes what passes have done, and what they have begun. */
  passUser!: PassUser;
  tcp!: MiniTcp;
  /** Opening packets that were redirected to the listener. */
  readonly redirected: { bytes: Uint8Array; hook: number }[] = [];
  readonly defects: unknown[] = [];
  readonly fallbacks: string[] = [];
  /** Flows that a next run would know, by their key. */
  readonly kept = new Map<string, QueuedFlow>();
  readonly #out: (bytes: Uint8Array) => void;

  constructor(pod: SimulatedPod, out: (bytes: Uint8Array) => void) {
    this.pod = pod;
    this.#out = out;
    pod.pod = { ...pod.pod, nfqueue: true };
    pod.believed &&= { ...pod.believed, nfqueue: true };
    this.proxy = this.start(0);
  }

  /** A proxy as after a restart, on the same kernel. */
  start(generation: number): QueueProxy {
    const own = Buffer.from(addressBytes(this.pod.address)!);
    const proxy = new QueueProxy({
      createPath: (events, user) => {
        this.passUser = user;
        const handle = this.pod.proxy!.surroundings.passes.openQueues(passSettings(MARKS, generation), user);
        const passing = handle && new QueuePasses(loadAddon(), handle);
        const kernel = {
          own: (address: Uint8Array) => own.equals(address),
          toKernel: (bytes: Uint8Array) => this.tcp.receive(bytes),
          toNetwork: this.#out,
          toListener: (bytes: Uint8Array, hook: number) => this.redirected.push({ bytes, hook }),
        };
        const path = new SimulatedPacketPath(events, MARKS, kernel, passing);
        for (const [key, value] of this.path?.marks ?? []) path.marks.set(key, value);
        this.path = path;
        return path;
      },
      around: this.pod.proxy!.surroundings,
      marks: MARKS,
      generation,
      onFallback: (address, detail) => this.fallbacks.push(`${address}: ${detail}`),
      onLost: () => {},
      onFailed: () => {},
      onDefect: (error) => this.defects.push(error),
      onVerified: (one) => this.kept.set(one.key, one),
      onEnded: (one) => this.kept.delete(one.key),
    });
    proxy.open({ firstQueue: 0, queues: 1, maxWaiting: 1_024, bufferBytes: 1_048_576, copyBytes: 65_535 });
    return proxy;
  }

  /** Its kernel sends. */
  readonly send = (bytes: Uint8Array): void => this.path.arrive(bytes, true);

  /** The network brings. */
  receive(bytes: Uint8Array): void {
    this.path.arrive(bytes, false);
  }
}

/** What the network does with a packet: 0 loses it, 1 brings it, 2 brings it twice, 3 keeps it behind the next ones. */
export type Fate = 0 | 1 | 2 | 3;

/** Two pods with queues and the network between them. */
export class QueuedNetwork {
  readonly client: QueuedPod;
  readonly server: QueuedPod;
  /** Every packet that was on the wire. */
  readonly wire: { from: 'client' | 'server'; bytes: Uint8Array }[] = [];
  /** Changes packets on their way. */
  onPacket: (bytes: Uint8Array, from: 'client' | 'server') => Uint8Array = (bytes) => bytes;
  /** Fates of the next packets; after them all arrive. */
  fates: Fate[] = [];
  /** Both kernels write all options of Linux. */
  linux = false;
  readonly #late: { to: QueuedPod; bytes: Uint8Array }[] = [];
  readonly #way: { to: QueuedPod; bytes: Uint8Array }[] = [];
  #ports = 40_000;

  constructor(simulation: Simulation, client: SimulatedPod, server: SimulatedPod) {
    this.client = new QueuedPod(client, (bytes) => this.#carry('client', bytes));
    this.server = new QueuedPod(server, (bytes) => this.#carry('server', bytes));
    simulation.publish();
  }

  /** A connection of the client's application to the server's; nothing is sent before {@link run}. */
  connect(
    options: {
      initial?: number;
      serverInitial?: number;
      port?: number;
      sourcePort?: number;
      /** Whom the client calls, if not the server. */
      to?: string;
      /** What the client's SYN says of its largest segment. */
      maximumSegment?: number;
    } = {},
  ): void {
    const tuple: FlowTuple = {
      family: this.client.pod.address.includes(':') ? 6 : 4,
      sourceAddress: addressBytes(this.client.pod.address)!,
      sourcePort: options.sourcePort ?? this.#ports++,
      destinationAddress: addressBytes(options.to ?? this.server.pod.address)!,
      destinationPort: options.port ?? 80,
    };
    const initial = options.initial ?? 1_000;
    this.client.tcp = new MiniTcp(tuple, initial, this.client.send, options.maximumSegment);
    this.server.tcp = new MiniTcp(
      {
        family: tuple.family,
        sourceAddress: addressBytes(this.server.pod.address)!,
        sourcePort: tuple.destinationPort,
        destinationAddress: tuple.sourceAddress,
        destinationPort: tuple.sourcePort,
      },
      options.serverInitial ?? 900_000,
      this.server.send,
    );
    this.server.tcp.state = 'listen';
    this.client.tcp.linux = this.server.tcp.linux = this.linux;
  }

  /** Carries packets until none is on its way. */
  run(): void {
    for (let count = 0; count < 10_000; count++) {
      const next = this.#way.shift() ?? this.#late.shift();
      if (next === undefined) return;
      next.to.receive(next.bytes);
      // What the kernel hands over at once is a turn of the event loop.
      next.to.pod.proxy!.surroundings.passes.giveNow();
    }
    throw new Error('the network does not come to rest');
  }

  /** Lets both sides say again what has no answer, as after a time-out. */
  retransmit(): void {
    this.client.tcp.retransmit();
    this.run();
    this.server.tcp.retransmit();
    this.run();
  }

  /** Lets so many milliseconds pass for both proxies, in steps of 200. */
  pass(milliseconds: number): void {
    const from = clock();
    for (let passed = 200; passed <= milliseconds; passed += 200) {
      const now = { monotonic: from.monotonic + passed, epochSeconds: from.epochSeconds + passed / 1000 };
      this.client.proxy.tick(now);
      this.server.proxy.tick(now);
      this.run();
    }
  }

  #carry(from: 'client' | 'server', bytes: Uint8Array): void {
    this.wire.push({ from, bytes: bytes.slice() });
    const fate = this.fates.shift() ?? 1;
    const arrival = {
      to: from === 'client' ? this.server : this.client,
      bytes: this.onPacket(bytes.slice(), from),
    };
    if (fate === 1 || fate === 2) this.#way.push(arrival);
    if (fate === 2) this.#way.push({ ...arrival, bytes: bytes.slice() });
    if (fate === 3) this.#late.push(arrival);
    else this.#way.push(...this.#late.splice(0));
  }
}
