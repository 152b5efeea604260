/** How many connections there may be at once, those of listeners and of queues together. */
export interface ConnectionBounds {
  readonly most: number;
  /** From one source address. */
  readonly mostOfSource: number;
  /** By listeners, each of which takes descriptors. */
  readonly mostAccepted: number;
}

/** What a bound has refused so far, by direction. */
export type Refused = Readonly<Record<'inbound' | 'outbound', number>>;

/** How things stand with a bound. */
export interface HeldConnections {
  readonly held: number;
  /** Because there were so many in all, and because the source had its share. */
  readonly refused: { readonly all: Refused; readonly source: Refused };
  /** The source address that has most. */
  readonly fullest: { readonly address: string; readonly held: number } | undefined;
}

/**
 * Bounds how many connections there are, since each takes memory and who may call can call without end. Whoever moves bytes and packets keeps the count: there
 * connections begin before the brain hears of them. Without {@link set} there is no bound.
 */
export interface ConnectionLimit {
  /** What is open stays, also where there is more than that. */
  set(bounds: ConnectionBounds): void;
  /** Counts an accepted connection that was refused since there was no room for it. */
  refused(why: keyof HeldConnections['refused'], direction: keyof Refused): void;
  look(): HeldConnections;
}
