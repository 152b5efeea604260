import type { Strangers } from './strangers.ts';

/** How often the addon is told, milliseconds; what it may let through is for so long. */
export const GATE_MS = 200;
/**
 * Twice what {@link Strangers} takes of one address: who decides ordinarily is that class, and the addon only sees to it that a flood does not get there. All of it
 * at twenty to fifty microseconds a packet.
 */
const PER_SOURCE = { perSecond: 600, burst: 1_200 };
const UNADMITTED_PER_SECOND = 200;
/** Of these a thousand are answered with a RST (`stray-packets.ts`). */
const STRAYS_PER_SECOND = 1_200;

/** What the addon may hand to TypeScript of packets to this pod whose connection nobody knows. What is beyond it drops itself. */
export interface GateLimits {
  readonly admissionKeys: readonly Uint8Array[];
  /** Hellos with a right admission MAC, until the limits are told again. */
  readonly strangers: number;
  /** Of these from one address, unless somebody there has proven itself before. */
  readonly perSource: { readonly perSecond: number; readonly burst: number };
  /** Hellos with a wrong one. */
  readonly unadmittedPerSecond: number;
  /** Packets that are no SYN, and such as this mode does not read. */
  readonly straysPerSecond: number;
}

/** Who drops packets before TypeScript is called. */
export interface Gate {
  /** @returns packets that were dropped since the last time */
  limit(limits: GateLimits): number;
}

/** The limits of the next {@link GATE_MS}. @param now monotonic milliseconds */
export function gateLimits(
  strangers: Strangers,
  admissionKeys: readonly Uint8Array[],
  now: number,
): GateLimits {
  return {
    admissionKeys,
    strangers: strangers.room(now),
    perSource: PER_SOURCE,
    unadmittedPerSecond: UNADMITTED_PER_SECOND,
    straysPerSecond: STRAYS_PER_SECOND,
  };
}
