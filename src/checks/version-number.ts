import { imageName } from '../install/control-plane.ts';

/** A release as numbers: `v1.34.1-gke.100` is 1, 34, 1. */
export interface VersionNumber {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/** Reads `v1.34.1`, `1.29`, `0.2.0-rc.1`; undefined when it is no version. */
export function versionNumber(text: string): VersionNumber | undefined {
  const match = /^v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:[-+.].*)?$/.exec(text);
  if (match === null) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0) };
}

/** Negative: `a` is older than `b`. Patches count. */
export function compareVersions(a: VersionNumber, b: VersionNumber): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch;
}

/**
 * How many minor releases lie between two; what is of different major releases is farther apart than any rule allows. Positive: `a` is the newer.
 */
export function minorsBetween(a: VersionNumber, b: VersionNumber): number {
  return a.major === b.major ? a.minor - b.minor : (a.major - b.major) * 1_000;
}

/** The tag of an image; undefined where it has a digest alone, or nothing. */
export function imageTag(image: string): string | undefined {
  const [bare = ''] = image.split('@', 1);
  const name = imageName(image);
  return bare === name ? undefined : bare.slice(name.length + 1);
}
