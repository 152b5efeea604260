import type { NativeAddon, NativeDataPath } from '../native.ts';
import type { ConnectionBounds, ConnectionLimit, HeldConnections } from './connection-limit.ts';

/** The functions of the addon that are called here. */
export type LimitAddon = Pick<NativeAddon, 'limitConnections' | 'connectionsHeld'>;

const NONE: HeldConnections = {
  held: 0,
  refused: { all: { inbound: 0, outbound: 0 }, source: { inbound: 0, outbound: 0 } },
  fullest: undefined,
};

/** The bound that native/connection_limit.c keeps for one data path and its queues. */
export class NativeConnectionLimit implements ConnectionLimit {
  readonly #addon: LimitAddon;
  readonly #path: NativeDataPath;
  readonly #isClosing: () => boolean;
  /** By listeners; of queues the addon counts. */
  readonly #refused = { all: { inbound: 0, outbound: 0 }, source: { inbound: 0, outbound: 0 } };

  constructor(addon: LimitAddon, path: NativeDataPath, isClosing: () => boolean) {
    this.#addon = addon;
    this.#path = path;
    this.#isClosing = isClosing;
  }

  set({ most, mostOfSource, mostAccepted }: ConnectionBounds): void {
    if (!this.#isClosing()) this.#addon.limitConnections(this.#path, most, mostOfSource, mostAccepted);
  }

  refused(why: 'all' | 'source', direction: 'inbound' | 'outbound'): void {
    this.#refused[why][direction]++;
  }

  look(): HeldConnections {
    if (this.#isClosing()) return NONE;
    const [held, allInbound, allOutbound, shareInbound, shareOutbound, fullest, fullestHeld] =
      this.#addon.connectionsHeld(this.#path);
    const { all, source } = this.#refused;
    return {
      held,
      refused: {
        all: { inbound: all.inbound + allInbound, outbound: all.outbound + allOutbound },
        source: { inbound: source.inbound + shareInbound, outbound: source.outbound + shareOutbound },
      },
      fullest: fullest && { address: fullest[0], held: fullestHeld },
    };
  }
}
