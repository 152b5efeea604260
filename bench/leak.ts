import { spreadOf } from './statistics.ts';

/** What a process held at a moment of rest, when no connection was open. */
export interface RestReading {
  readonly descriptors: number;
  /** Bytes. */
  readonly resident: number;
}

/** Memory that a process may take after its first quarter without being called leaky: garbage is not collected to the last byte. */
const RESIDENT_FACTOR = 1.25;
const RESIDENT_BYTES = 16e6;
/** Descriptors that come and go at rest: a scrape, a file that is looked at. */
const DESCRIPTORS = 8;

/**
 * Compares the second quarter of a run with its last one, medians of each. The first quarter is for growing up.
 * @param readings of one process, evenly over the run
 * @returns what has leaked, in words; empty when nothing has, or there are fewer than eight readings
 */
export function leaks(readings: readonly RestReading[]): string[] {
  if (readings.length < 8) return [];
  const quarter = Math.floor(readings.length / 4);
  const middle = (part: readonly RestReading[], of: (one: RestReading) => number): number =>
    spreadOf(part.map(of))!.median;
  const [early, late] = [readings.slice(quarter, 2 * quarter), readings.slice(-quarter)];
  const found: string[] = [];
  const [memoryBefore, memoryAfter] = [early, late].map((part) =>
    middle(part, ({ resident }) => resident),
  ) as [number, number];
  if (memoryAfter > memoryBefore * RESIDENT_FACTOR + RESIDENT_BYTES) {
    found.push(`memory grew from ${(memoryBefore / 1e6).toFixed(0)} to ${(memoryAfter / 1e6).toFixed(0)} MB`);
  }
  const [before, after] = [early, late].map((part) => middle(part, ({ descriptors }) => descriptors)) as [
    number,
    number,
  ];
  if (after > before + DESCRIPTORS) found.push(`descriptors grew from ${before} to ${after}`);
  return found;
}
