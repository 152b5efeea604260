import type { NativeAddon } from '../native.ts';

/** Bits of linux/capability.h. */
const NET_ADMIN = 2 ** 12;
const NET_RAW = 2 ** 13;

type Capabilities = Pick<NativeAddon, 'capabilities' | 'setCapabilities'>;

/** What a sidecar has to be able to do for its whole life. */
export interface CapabilityNeeds {
  readonly nfqueue: boolean;
  readonly keepSource: boolean;
}

/**
 * Gives a sidecar what its mode needs, as late as it is needed, and takes it away as soon as it is not. In a pod the capabilities come from the file that is executed
 * and are permitted, not in effect (decision 42): nothing has one that has not asked for it here. A thread has the capabilities
 * of the one that started it, so the order of calls is that of threads. For root by hand nothing changes.
 */
export class SidecarCapabilities {
  readonly #addon: Capabilities;
  readonly #needs: CapabilityNeeds;
  readonly #root: boolean;

  constructor(addon: Capabilities, needs: CapabilityNeeds, root: boolean) {
    this.#addon = addon;
    this.#needs = needs;
    this.#root = root;
  }

  /** Before the data thread starts, which keeps what is in effect now: to dial from the addresses of others takes NET_RAW, or else NET_ADMIN (ip(7), IP_TRANSPARENT). */
  forDataThread(): void {
    const { nfqueue, keepSource } = this.#needs;
    if (keepSource) {
      const dialling = this.#has(NET_RAW) ? NET_RAW : NET_ADMIN;
      this.#set(dialling, dialling);
    } else {
      this.#set(0, nfqueue ? NET_ADMIN + NET_RAW : 0);
    }
  }

  /** Before the queues and the raw sockets are opened. */
  forQueues(): void {
    this.#set(NET_ADMIN + NET_RAW, NET_ADMIN + NET_RAW);
  }

  /** The kernel asks for NET_ADMIN at every verdict and mark (nfnetlink), for NET_RAW when a raw socket is opened and not again. */
  forPackets(): void {
    this.#set(NET_ADMIN, NET_ADMIN);
  }

  #has(capability: number): boolean {
    return (this.#addon.capabilities()[1] & capability) !== 0;
  }

  #set(effective: number, permitted: number): void {
    if (this.#root) return;
    const [, have] = this.#addon.capabilities();
    // Above bit 31 there is none of ours: the operator's 32 bits are enough.
    this.#addon.setCapabilities(effective & have, permitted & have);
  }
}
