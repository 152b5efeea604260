import { createHash } from 'node:crypto';

/** What replicas share about the identity of a pod: which key it has, and since when. */
export interface IdentityRecord {
  /** RFC 7638 thumbprint of the key that counts. */
  readonly key: string;
  /** Tokens issued before are dead; 0: the first key, nothing is. Whole seconds since the epoch. */
  readonly since: number;
  /** Of the sidecar's container when the key came. */
  readonly restarts: number;
}

export type Claim =
  | { readonly kind: 'known'; readonly record: IdentityRecord }
  /** `alert`: nothing explains the other key. */
  | {
      readonly kind: 'new';
      readonly record: IdentityRecord;
      readonly replaced: boolean;
      readonly alert: boolean;
    };

/** How many objects share the records: a change is sent to all replicas with the object that it stands in. */
export const SHARDS = 16;

/** A record outlives its pod by that much, seconds: as long as a token of it may live, and then some. */
export const KEPT = 25 * 3600;

/**
 * What becomes of a request for an identity with this key. The first key of a pod is its key. Any other one replaces it and kills what the first one had: a pod
 * has one sidecar, so one of the two is a thief, and nobody can tell which. A restarted container is the harmless reason.
 * @param now seconds since the epoch
 */
export function claimKey(
  known: IdentityRecord | undefined,
  key: string,
  restarts: number,
  now: number,
): Claim {
  if (known === undefined) {
    return { kind: 'new', record: { key, since: 0, restarts }, replaced: false, alert: false };
  }
  if (known.key === key) return { kind: 'known', record: known };
  // One second on, so that a token of the old key from this very second is dead too; the new token begins there.
  const since = Math.max(Math.floor(now) + 1, known.since + 1);
  return { kind: 'new', record: { key, since, restarts }, replaced: true, alert: restarts <= known.restarts };
}

/** The object in which the record of a pod stands. */
export function shardOf(podUid: string): number {
  return createHash('sha256').update(podUid).digest()[0]! % SHARDS;
}

/** Reads the data of an object. What cannot be read is left out: its pod has no record then, and its next key is its first. */
export function decodeRecords(data: Readonly<Record<string, string>>): Map<string, IdentityRecord> {
  const records = new Map<string, IdentityRecord>();
  for (const [uid, text] of Object.entries(data)) {
    const [key = '', since = '', restarts = ''] = text.split(' ');
    if (!/^[\w-]{43}$/.test(key) || !/^\d{1,12}$/.test(since) || !/^\d{1,6}$/.test(restarts)) continue;
    records.set(uid, { key, since: Number(since), restarts: Number(restarts) });
  }
  return records;
}

export function encodeRecords(records: ReadonlyMap<string, IdentityRecord>): Record<string, string> {
  return Object.fromEntries(
    [...records].map(([uid, { key, since, restarts }]) => [uid, `${key} ${since} ${restarts}`]),
  );
}
