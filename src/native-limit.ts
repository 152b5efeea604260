import type { NativeDataPath, RawEndpoint } from './native.ts';

/** How many connections there are; how many were refused because of all, and because of a source's share; who has most, and how many. */
export type NativeHeld = [
  held: number,
  allInbound: number,
  allOutbound: number,
  shareInbound: number,
  shareOutbound: number,
  fullest: RawEndpoint | undefined,
  fullestHeld: number,
];

/** What native/js_limit.c exports: the bound of connections of a data path and its queues (`src/relay/connection-limit.ts`). */
export interface NativeLimit {
  /** What is open stays. */
  limitConnections(path: NativeDataPath, most: number, mostOfSource: number, mostAccepted: number): void;
  connectionsHeld(path: NativeDataPath): NativeHeld;
}
