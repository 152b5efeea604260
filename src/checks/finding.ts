/** error: it does not work, or will not. warning: it will probably hurt. note: worth knowing. ok: looked at, nothing wrong. */
export const LEVELS = ['error', 'warning', 'note', 'ok'] as const;
export type Level = (typeof LEVELS)[number];

/** What one check has to say about one object. */
export interface Finding {
  readonly level: Level;
  /** The check: `pod-security`, `egress`. */
  readonly check: string;
  /** kubectl's way: `namespace/shop`; `cluster` where it is about the whole. */
  readonly object: string;
  /** What is the matter, as one sentence. */
  readonly text: string;
  /** What to do. */
  readonly remedy?: string;
  /** An object that mends it, ready to apply. */
  readonly apply?: object;
}

/** Worst first, then by check and object. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  return findings.toSorted(
    (a, b) =>
      LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) ||
      compare(a.check, b.check) ||
      compare(a.object, b.object),
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
