import type { Clock, HandshakeKind } from '../handshake/outcome.ts';
import { allowed } from '../proxy/judgement.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { ByPass } from './by-pass.ts';
import { clock } from './clock.ts';
import { EstablishedFlows } from './established-flows.ts';
import { FallbackMemory } from './fallback-memory.ts';
import { FirstCalls } from './first-calls.ts';
import { flowKey } from './flow-key.ts';
import { HelloKeys } from './hello-keys.ts';
import { type CallMemory, openClient } from './open-client.ts';
import { openServer } from './open-server.ts';
import type { FlowEffect } from './flow-step.ts';
import { FlowTable } from './flow-table.ts';
import { deviceOf, hasStreamHello, heardPacket, startsWithMagic } from './heard-packet.ts';
import type { ProvenPeer } from '../proxy/peer.ts';
import type { QueueProxyOptions } from './queue-proxy-options.ts';
import {
  HOOK,
  type OpenOptions,
  type PacketPath,
  type PacketPathEvents,
  type QueuedPacket,
} from './packet-path.ts';
import { isOpening, isReset, isSynAck, type TcpPacket } from './packets.ts';
import { type QueuedFlow, resetForKernel } from './queued-flow.ts';
import { Strangers } from './strangers.ts';
import { UnownedPackets } from './unowned-packets.ts';

/** How often flows that wait for something are looked at. */
const TICK_MS = 200;

/**
 * NFQUEUE mode: takes packets from the queues, gives each flow's reducer what is about it, and does what the reducers ask for. Everything here is
 * done at once and in order; nothing waits.
 */
export class QueueProxy implements PacketPathEvents {
  readonly path: PacketPath;
  readonly strangers = new Strangers();
  readonly #options: QueueProxyOptions;
  readonly #around: Surroundings;
  readonly #calls: CallMemory;
  readonly #table: FlowTable;
  readonly byPass: ByPass;
  readonly #unowned: UnownedPackets;
  readonly #established: EstablishedFlows;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: QueueProxyOptions) {
    this.#options = options;
    this.#around = options.around;
    this.#unowned = new UnownedPackets(() => this.path, options.marks);
    const helloKeys = new HelloKeys(options.around.takeEphemeral);
    this.#calls = { fallback: new FallbackMemory(), helloKeys, firstCalls: new FirstCalls() };
    this.#table = new FlowTable(() => this.path.passing);
    this.#established = new EstablishedFlows(options, this.#table, this.#calls.fallback);
    this.byPass = new ByPass(options, this, this.#table, (one) => this.#forget(one));
    this.path = options.createPath(this, this.byPass);
  }

  /** The flows by their connection. */
  get flows(): ReadonlyMap<string, QueuedFlow> {
    this.byPass.tell();
    return this.#table.byKey;
  }

  /** {@link flows} without those that a pass has established a moment ago. */
  get entered(): ReadonlyMap<string, QueuedFlow> {
    this.byPass.news();
    return this.#table.byKey;
  }

  /** Binds the queues. @throws as {@link PacketPath.open} */
  open(options: OpenOptions): void {
    this.path.open(options);
    this.#timer = setInterval(() => this.tick(clock()), TICK_MS);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.byPass.takeBack();
    await this.path.close();
  }

  passed(): void {
    this.byPass.soon();
  }

  packets(batch: readonly QueuedPacket[]): void {
    this.byPass.news();
    const now = clock();
    for (const queued of batch) {
      try {
        this.#packet(queued, now);
      } catch (error) {
        this.path.verdict(queued, 'drop');
        this.#options.onDefect(error);
      }
    }
    if (this.#established.isEmpty) return;
    this.path.flush();
    this.#established.tell();
  }

  lost(count: number): void {
    this.#options.onLost(count);
  }

  failed(error: Error): void {
    this.#options.onFailed(error);
  }

  /** Looks at the flows that wait for something. */
  tick(now: Clock): void {
    this.byPass.tick();
    this.#calls.helloKeys.dropOld(now.monotonic);
    for (const one of this.#table.waiting) {
      try {
        if (one.evicted) this.#evict(one);
        else this.#apply(one, one.step({ kind: 'tick' }, now), undefined);
      } catch (error) {
        this.#forget(one);
        this.#options.onDefect(error);
      }
    }
  }

  /** Its half-open place went to a newer stranger: our kernel forgets it. */
  #evict(one: QueuedFlow): void {
    const forgetting = resetForKernel(one);
    if (forgetting !== undefined) this.path.sendPacket(forgetting, one.device);
    one.failed('overloaded', 'newer connections took its place');
    this.#forget(one);
  }

  /** A flow is over: its record is written. */
  end(one: QueuedFlow): void {
    this.#established.tell();
    this.#around.open.delete(one.flow);
    one.flow.end({ ...one.counted, cause: 'end' });
    // Before an older connection on its ports, which has the same name in the file, is kept again.
    this.#options.onEnded?.(one);
    this.#forget(one);
  }

  /** Takes a flow of an earlier run back. */
  adopt(one: QueuedFlow): void {
    this.#table.restore(one);
    this.#around.open.add(one.flow);
    this.#mark(one);
  }

  /** Cuts an open connection: out of conntrack, so that its packets are queued again and answered with RSTs, and its socket is ended. */
  readonly cut = (one: QueuedFlow): void => {
    this.#around.open.delete(one.flow);
    this.#options.onEnded?.(one);
    this.#forget(one);
    this.path.cutConnection(one.tuple, one.outgoing, one.device);
  };

  uncut(error: Error): void {
    this.#options.onDefect(error);
  }

  #packet(queued: QueuedPacket, now: Clock): void {
    const outgoing = queued.hook === HOOK.output || queued.hook === HOOK.postrouting;
    const packet = heardPacket(queued);
    if (packet === undefined) return this.path.verdict(queued, 'drop');
    const key = flowKey(packet, outgoing);
    const known = this.#table.get(key) ?? this.byPass.reveal(key);
    if (isOpening(packet) && !isReset(packet))
      return this.#opening(queued, packet, key, known, outgoing, now);
    if (known === undefined) return this.#unowned.stray(queued, packet, key);
    const of = this.#ofPrevious(known, packet, outgoing) ?? known;
    // Its mark is on the way, or was lost with its entry in conntrack.
    if (of === known && of.verified && !isSynAck(packet)) this.#mark(of);
    this.#apply(of, of.step({ kind: outgoing ? 'out' : 'in', packet }, now), queued);
  }

  /** Until our kernel has accepted a new connection on the ports of an old one, packets without SYN are the old one's. */
  #ofPrevious(known: QueuedFlow, packet: TcpPacket, outgoing: boolean): QueuedFlow | undefined {
    const { previous } = known;
    if (previous === undefined) return undefined;
    if (!isSynAck(packet)) return previous;
    if (outgoing) {
      known.previous = undefined;
      this.end(previous);
      this.#table.restore(known);
      // Both have the same name in the file.
      if (known.established) this.#options.onVerified?.(known);
    }
    return undefined;
  }

  #opening(
    queued: QueuedPacket,
    packet: TcpPacket,
    key: string,
    known: QueuedFlow | undefined,
    outgoing: boolean,
    now: Clock,
  ): void {
    if (known?.hears(packet, outgoing) === true) {
      return this.#apply(known, known.step({ kind: outgoing ? 'out' : 'in', packet }, now), queued);
    }
    if (outgoing) {
      if (known !== undefined) this.#superseded(known);
      return this.#openClient(queued, packet, key, now);
    }
    return this.#openServer(queued, packet, key, known, now);
  }

  /** Our own kernel opens a connection on the same ports: the old one is over. */
  #superseded(known: QueuedFlow): void {
    if (known.established) this.end(known);
    else this.#forget(known);
  }

  #openClient(queued: QueuedPacket, packet: TcpPacket, key: string, now: Clock): void {
    const opened = openClient(key, packet, this.#around, this.#calls, this.cut, now);
    if (opened.kind === 'stream') {
      if (opened.problem !== undefined) this.#options.onFallback(opened.address, opened.problem);
      return this.#unowned.toListener(queued);
    }
    if (opened.kind === 'drop') return this.path.verdict(queued, 'drop');
    if (opened.kind === 'refused') return this.#unowned.refuse(queued, packet, opened);
    if (this.#table.isFull || !this.#table.admits(key, true)) {
      // TCP repeats its SYN.
      opened.one.leave?.();
      return this.path.verdict(queued, 'drop');
    }
    opened.one.device = deviceOf(queued);
    this.#table.enter(opened.one);
    this.#apply(opened.one, opened.effects, queued);
  }

  #openServer(
    queued: QueuedPacket,
    packet: TcpPacket,
    key: string,
    known: QueuedFlow | undefined,
    now: Clock,
  ): void {
    // Without a preamble: the listener takes it, which knows redirecting peers, and judges the others by address.
    // So does one with a preamble that is meant for it, by Fast Open.
    if (!startsWithMagic(packet) || hasStreamHello(packet)) return this.#unowned.toListener(queued);
    if (known === undefined && !this.#table.admits(key, false)) return this.path.verdict(queued, 'drop');
    const opened = openServer(key, packet, this.#around, this.strangers, this.cut, now);
    if (opened.kind === 'drop') return this.path.verdict(queued, 'drop');
    if (opened.kind === 'refused') return this.#unowned.refuse(queued, packet, opened);
    const { one } = opened;
    one.device = deviceOf(queued);
    if (known?.established === true) {
      this.#established.tell();
      one.previous = known;
    } else if (known !== undefined) this.#forget(known);
    if (!one.isOver) this.#table.enter(one);
    this.#apply(one, opened.effects, queued);
  }

  #apply(
    one: QueuedFlow,
    effects: readonly FlowEffect<ProvenPeer>[],
    queued: QueuedPacket | undefined,
  ): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case 'pass':
          if (queued !== undefined) this.path.verdict(queued, 'accept', effect);
          break;
        case 'drop':
          if (queued !== undefined) this.path.verdict(queued, 'drop');
          break;
        case 'inject':
          this.path.sendPacket(effect.bytes, one.device);
          break;
        case 'verified':
          this.#mark(one);
          one.verified = true;
          break;
        case 'established':
          this.#establish(one, effect.handshake);
          break;
        case 'failed':
          one.leave?.();
          one.failed(effect.reason, effect.detail, effect.peer);
          this.#forget(one);
          break;
        case 'fallback':
          this.#fellBack(one, effect.detail);
          break;
      }
    }
  }

  #establish(one: QueuedFlow, handshake: HandshakeKind): void {
    one.leave?.();
    one.leave = undefined;
    one.established = true;
    // Question and answer fall in one turn, but for a client that has proven itself: a Verdict takes its time.
    const late = one.outgoing && handshake === 'full';
    const standing = (late ? one.flow.rejudge?.() : undefined) ?? one.judged ?? allowed('not-isolated');
    if (standing.verdict === 'deny') return one.flow.deny(standing);
    this.#established.add(one, standing);
  }

  #fellBack(one: QueuedFlow, detail: string): void {
    const { address } = one.flow.facts.destination;
    // Those to this address are over; it is seldom enough to take back all.
    this.#around.passes.revoke();
    if (this.#calls.fallback.add(address, performance.now())) this.#options.onFallback(address, detail);
    this.#forget(one);
    this.#unowned.turned(one.key);
    // Without an entry the application's next SYN is new to nat, and is redirected.
    this.path.deleteConnection(one.tuple).catch((error: unknown) => this.#options.onDefect(error));
  }

  #forget(one: QueuedFlow): void {
    one.leave?.();
    const previous = this.#table.remove(one);
    if (previous === undefined) return;
    // The new connection never came to be: the old one is the kernel's again.
    this.#mark(previous);
    this.#options.onVerified?.(previous);
  }

  #mark({ tuple }: QueuedFlow): void {
    const { marks, generation } = this.#options;
    this.path.setConnectionMark(tuple, marks.verified(generation), marks.mask);
  }
}
