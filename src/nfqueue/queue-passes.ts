import type { NativeAddon, NativeQueuePasses } from '../native.ts';
import type { Gate, GateLimits } from './gate.ts';
import type { PacketPassing } from './packet-path.ts';
import { type EndedPass, type PassRecord, readPassRecords } from './pass-records.ts';

/** The passes of the addon for packets of queues. */
export class QueuePasses implements PacketPassing, Gate {
  readonly handle: NativeQueuePasses;
  readonly #addon: NativeAddon;
  #closed = false;
  #markEnded: ((records: Uint8Array) => void) | undefined;

  constructor(addon: NativeAddon, handle: NativeQueuePasses) {
    this.#addon = addon;
    this.handle = handle;
  }

  claim(key: string, initial: number, outgoing: boolean, waiting: boolean): void {
    if (!this.#closed) this.#addon.queueClaim(this.handle, key, initial, outgoing, waiting);
  }

  admits(key: string, outgoing: boolean): boolean {
    return !this.#closed && this.#addon.queueAdmits(this.handle, key, outgoing);
  }

  release(key: string, initial: number): void {
    if (!this.#closed) this.#addon.queueRelease(this.handle, key, initial);
  }

  /** @param markEnded marks records of connections that the kernel has no more */
  askForEnds(markEnded: (records: Uint8Array) => void): void {
    this.#markEnded = markEnded;
  }

  take(
    handOverMs: number,
    keptBackMs: number,
    onEnded: (one: EndedPass) => void,
    askForEnds: boolean,
  ): readonly PassRecord[] {
    if (this.#closed) return [];
    const bytes = this.#addon.queuePassesTake(this.handle, handOverMs, keptBackMs);
    if (bytes === undefined) return [];
    if (askForEnds && this.#markEnded !== undefined) {
      this.#markEnded(bytes);
      this.#addon.queuePassesForget(this.handle, bytes);
    }
    return readPassRecords(bytes, onEnded);
  }

  get keptBack(): number {
    return this.#closed ? 0 : this.#addon.queuePassesKeptBack(this.handle);
  }

  reveal(key: string): boolean {
    return !this.#closed && this.#addon.queueReveal(this.handle, key);
  }

  /** Decides the packet of one datagram. @returns orders for the kernel; undefined: no pass foresees it */
  decide(datagram: Uint8Array): Uint8Array | undefined {
    return this.#closed ? undefined : this.#addon.queuePassesTry(this.handle, datagram);
  }

  /** Packets that the kernel numbered and did not hand over, since the last time. */
  missing(): number {
    return this.#closed ? 0 : this.#addon.queuePassesMissing(this.handle);
  }

  limit({ admissionKeys, strangers, perSource, unadmittedPerSecond, straysPerSecond }: GateLimits): number {
    if (this.#closed) return 0;
    return this.#addon.queueGate(
      this.handle,
      Buffer.concat(admissionKeys),
      strangers,
      perSource.perSecond,
      perSource.burst,
      unadmittedPerSecond,
      straysPerSecond,
    );
  }

  close(): void {
    this.#closed = true;
    this.#addon.queuePassesClose(this.handle);
  }
}
