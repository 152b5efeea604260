import type { Endpoint } from '../../src/lib/address.ts';
import {
  type Closed,
  type ConnectionId,
  type DataPath,
  type DataPathEvents,
  type DialOptions,
  FrameFormat,
  type Listener,
  type RelayOptions,
  type Side,
} from '../../src/relay/data-path.ts';
import { ReplayWindow } from '../../src/handshake/replay-window.ts';
import type {
  ByPass,
  InboundPass,
  OutboundChoice,
  OutboundPass,
  OwnedWindow,
  QueuePassSettings,
  Resumption,
} from '../../src/relay/resumption.ts';
import type { SimulatedPod, Simulation } from './simulation.ts';
import { activity, End } from './simulated-socket.ts';

interface Entry {
  readonly id: ConnectionId;
  readonly client: End;
  upstream: End | undefined;
  reading: { side: Side; maxBytes: number } | undefined;
  relay: { guard: boolean; held: boolean } | undefined;
  bytesIn: number;
  bytesOut: number;
  closed: boolean;
}

/** Keeps the passes that it is given, and lets nothing go by them; gives them on to real ones, if there are any. */
export class RecordedPasses implements Resumption {
  readonly #real: Resumption | undefined;
  inbound: InboundPass[] = [];
  outbound: OutboundPass[] = [];
  choices: OutboundChoice[] = [];
  revoked = 0;

  constructor(real?: Resumption) {
    this.#real = real;
  }

  openQueues(settings: QueuePassSettings) {
    return this.#real?.openQueues?.(settings);
  }

  openWindow(): OwnedWindow {
    if (this.#real !== undefined) return this.#real.openWindow();
    const window = new ReplayWindow();
    return { session: 1, use: (counter) => window.use(counter), close: () => {} };
  }

  passInbound(pass: InboundPass): boolean {
    this.inbound.push(pass);
    return this.#real?.passInbound(pass) ?? true;
  }

  passOutbound(pass: OutboundPass): boolean {
    this.outbound.push(pass);
    return this.#real?.passOutbound(pass) ?? true;
  }

  choiceOutbound(choice: OutboundChoice): boolean {
    this.choices.push(choice);
    return true;
  }

  revoke(): void {
    this.revoked++;
    this.#real?.revoke();
    this.choices = [];
    this.inbound = [];
    this.outbound = [];
  }

  tell(): void {}
}

/** A data path that moves messages in memory. */
export class SimulatedDataPath implements DataPath {
  readonly #simulation: Simulation;
  readonly #pod: SimulatedPod;
  readonly #events: DataPathEvents;
  readonly #entries = new Map<ConnectionId, Entry>();
  readonly resumption: RecordedPasses;
  /** What the sidecar has reset, and how often it had taken passes back by then. */
  readonly resets: { id: ConnectionId; revoked: number }[] = [];
  #lastId = 0;
  /** What the sidecar dialled, in order. */
  readonly dialled: (Endpoint & { fastOpen: boolean; source?: Endpoint })[] = [];
  /** The address of a client cannot be had. */
  sourcesFail = false;
  /** Sees the messages of its sidecar before they are sent, and may change them. */
  onMessage: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes;
  /** So many of the next dials are refused. */
  refusals = 0;

  constructor(simulation: Simulation, pod: SimulatedPod, events: DataPathEvents, real?: Resumption) {
    this.resumption = new RecordedPasses(real);
    this.#simulation = simulation;
    this.#pod = pod;
    this.#events = events;
  }

  accept(
    role: 'inbound' | 'outbound',
    peer: Endpoint,
    original: Endpoint,
    client: End,
    syn: Uint8Array,
    picked?: Endpoint,
  ): void {
    const id = ++this.#lastId;
    const entry: Entry = {
      id,
      client,
      upstream: undefined,
      reading: undefined,
      relay: undefined,
      bytesIn: 0,
      bytesOut: 0,
      closed: false,
    };
    this.#entries.set(id, entry);
    client.onChange = () => this.#pump(entry);
    const local = role === 'inbound' ? { ...original, port: 14_006 } : { address: '127.0.0.1', port: 14_001 };
    later(() => this.#events.accepted(id, { role, peer, local, original, syn, ...(picked && { picked }) }));
  }

  /** Says that a pass has established a connection. */
  tell(pass: number, peer: Endpoint, ending?: ByPass['ending']): ConnectionId {
    const id = ++this.#lastId;
    const dial = { synData: 'none', synRetransmits: 0 } as const;
    this.#events.byPass?.({ id, pass, peer, dial, startedAt: performance.now() - 2, handshakeMs: 1, ending });
    return id;
  }

  /** Says that such a connection has ended. */
  tellEnd(id: ConnectionId, closed: Closed): void {
    this.#events.closed(id, closed);
  }

  listen(): Promise<Listener> {
    return Promise.resolve({ endpoint: { address: '0.0.0.0', port: 0 }, close: () => {} });
  }

  readFrame(id: ConnectionId, side: Side, maxBytes: number): void {
    this.#with(id, (entry) => {
      entry.reading = { side, maxBytes };
    });
  }

  send(id: ConnectionId, side: Side, bytes: Uint8Array): void {
    this.#with(id, (entry) => entry[side]?.write(this.onMessage(bytes)));
  }

  dial(id: ConnectionId, target: Endpoint, options: DialOptions): void {
    this.#with(id, (entry) => {
      if (entry.upstream !== undefined) {
        entry.upstream.onChange = undefined;
        entry.upstream.reset();
      }
      const { fastOpen, source: from } = options;
      this.dialled.push({ ...target, fastOpen, ...(from && { source: from }) });
      if (from !== undefined && this.sourcesFail) {
        const report = { synRetransmits: 0, synData: 'none', unbound: true } as const;
        later(() => this.#events.dialled(id, 'EPERM', undefined, report));
        return;
      }
      const [near, far] = End.pair();
      const own = this.#pod.pod.addresses.includes(target.address);
      let error: string | undefined;
      if (this.refusals > 0) {
        this.refusals--;
        error = 'ECONNREFUSED';
      } else if (!own) {
        const source = { address: this.#pod.address, port: 50_000 };
        error = this.#simulation.arrive(source, target, far, options.fastOpen);
      } else if (this.#pod.listening) this.#pod.acceptLocally(far);
      else error = 'ECONNREFUSED';
      if (error === undefined) {
        entry.upstream = near;
        near.onChange = () => this.#pump(entry);
        if (options.first !== undefined) near.write(this.onMessage(options.first));
      }
      later(() => {
        if (!entry.closed) this.#events.dialled(id, error, undefined);
      });
    });
  }

  relay(id: ConnectionId, options: RelayOptions): void {
    this.#with(id, (entry) => {
      entry.reading =
        options.verdictFrame === undefined ? undefined : { side: 'upstream', maxBytes: options.verdictFrame };
      entry.relay = { guard: options.guard, held: options.verdictFrame !== undefined };
    });
  }

  release(id: ConnectionId): void {
    this.#with(id, (entry) => {
      if (entry.relay !== undefined) entry.relay.held = false;
    });
  }

  dropUpstream(id: ConnectionId): void {
    this.#with(id, (entry) => {
      if (entry.upstream !== undefined) entry.upstream.onChange = undefined;
      entry.upstream?.reset();
      entry.upstream = undefined;
      entry.relay = undefined;
    });
  }

  reset(id: ConnectionId): void {
    this.resets.push({ id, revoked: this.resumption.revoked });
    this.#with(id, (entry) => this.#close(entry, 'reset'));
  }

  progress(id: ConnectionId) {
    const entry = this.#entries.get(id);
    return entry && { bytesIn: entry.bytesIn, bytesOut: entry.bytesOut };
  }

  close(): Promise<void> {
    for (const entry of this.#entries.values()) this.#close(entry, 'reset');
    return Promise.resolve();
  }

  #with(id: ConnectionId, act: (entry: Entry) => void): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    act(entry);
    later(() => this.#pump(entry));
  }

  #pump(entry: Entry): void {
    if (entry.closed) return;
    const { client, upstream, reading } = entry;
    if (reading !== undefined) this.#read(entry, reading);
    if (entry.closed) return;
    if (client.gone === 'reset') return this.#close(entry, 'client-reset');
    if (upstream?.gone === 'reset' && entry.reading === undefined && entry.relay !== undefined) {
      return this.#close(entry, 'upstream-reset');
    }
    if (entry.relay !== undefined && upstream !== undefined) this.#move(entry, entry.relay, upstream);
    else if (client.gone === 'end' && client.unread.length === 0 && entry.reading === undefined) {
      this.#close(entry, 'client-reset');
    }
  }

  #read(entry: Entry, reading: { side: Side; maxBytes: number }): void {
    const end = entry[reading.side];
    if (end === undefined) return;
    const { unread } = end;
    const { magic, headerBytes, lengthOffset } = FrameFormat;
    const same = Math.min(unread.length, magic.length);
    const broken = Buffer.compare(unread.subarray(0, same), magic.subarray(0, same)) !== 0;
    if (broken || (end.gone !== undefined && !this.#isWhole(unread))) {
      entry.reading = undefined;
      this.#events.notFrame(entry.id, reading.side, unread.subarray(0, 16), end.gone !== undefined);
    } else if (unread.length >= headerBytes) {
      const length = headerBytes + unread.readUInt16BE(lengthOffset);
      if (length > reading.maxBytes) {
        entry.reading = undefined;
        this.#events.frameTooLarge(entry.id, reading.side, length);
      } else if (unread.length >= length) {
        entry.reading = undefined;
        this.#events.frame(entry.id, reading.side, Uint8Array.from(end.take(length)));
      }
    }
  }

  #isWhole(unread: Buffer): boolean {
    const { headerBytes, lengthOffset } = FrameFormat;
    return unread.length >= headerBytes && unread.length >= headerBytes + unread.readUInt16BE(lengthOffset);
  }

  #move(entry: Entry, relay: { guard: boolean; held: boolean }, upstream: End): void {
    const { client } = entry;
    if (relay.guard && client.unread.length > 0) {
      const { magic } = FrameFormat;
      const same = Math.min(client.unread.length, magic.length);
      const like = Buffer.compare(client.unread.subarray(0, same), magic.subarray(0, same)) === 0;
      if (like && same === magic.length) {
        entry.relay = undefined;
        this.#events.preamble(entry.id, entry.bytesOut > 0);
        return;
      }
      if (!like || client.gone !== undefined) relay.guard = false;
    }
    if (!relay.guard && client.unread.length > 0) {
      entry.bytesIn += client.unread.length;
      upstream.write(client.take(client.unread.length));
    }
    if (!relay.held && upstream.unread.length > 0) {
      entry.bytesOut += upstream.unread.length;
      client.write(upstream.take(upstream.unread.length));
    }
    if (client.gone === 'end' && client.unread.length === 0) upstream.finish();
    if (upstream.gone === 'end' && upstream.unread.length === 0 && !relay.held) client.finish();
    if (client.finished && upstream.finished) this.#close(entry, 'end');
  }

  #close(entry: Entry, cause: Closed['cause']): void {
    if (entry.closed) return;
    entry.closed = true;
    this.#entries.delete(entry.id);
    if (cause !== 'end') {
      entry.client.reset();
      entry.upstream?.reset();
    }
    const { bytesIn, bytesOut } = entry;
    later(() => this.#events.closed(entry.id, { bytesIn, bytesOut, cause }));
  }
}

function later(act: () => void): void {
  activity.count++;
  setImmediate(() => {
    activity.count++;
    act();
  });
}
