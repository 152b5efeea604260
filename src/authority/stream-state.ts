import { type Mark, type PeerInterest, type StateMessage } from '../authority-protocol/messages.ts';
import { LIMITS } from '../authority-protocol/limits.ts';
import { wireObject } from '../authority-protocol/wire-objects.ts';
import type { ClusterObject } from '../sources/objects.ts';
import type { ClusterLookup } from './cluster-lookup.ts';
import { type SelectorCache, sliceOf } from './slice.ts';

/** One sidecar's stream: what it asked about, and what it was told. A value; {@link step} makes the next one. */
export interface StreamState {
  readonly podUid: string;
  readonly addresses: ReadonlySet<string>;
  /** By uid. */
  readonly peers: ReadonlyMap<string, PeerInterest>;
  readonly told: {
    readonly objects: ReadonlyMap<string, ClusterObject>;
    readonly answered: ReadonlySet<string>;
    /** By uid. */
    readonly marks: ReadonlyMap<string, number>;
    readonly trust: object | undefined;
    readonly authorities: string | undefined;
    readonly networks: string;
  };
  readonly dependsOn: ReadonlySet<string>;
}

/** What the authority knows, as far as streams are about it. */
export interface World {
  readonly lookup: ClusterLookup;
  readonly selectors: SelectorCache;
  readonly networks: { readonly pods: readonly string[]; readonly services: readonly string[] };
  /** What a pod of a namespace is to believe. */
  readonly trust: (namespace: string) => object;
  readonly authorities: string;
  /** Marks of second keys by pod uid, seconds since the epoch. */
  readonly marks: ReadonlyMap<string, number>;
  /** Uids of pods that this replica saw and that are no more. */
  readonly gone: ReadonlySet<string>;
  /** When the index was last known to be the newest, seconds since the epoch. */
  readonly confirmedAt: number;
}

export type StreamEvent =
  | {
      readonly kind: 'asked';
      readonly addresses: readonly string[];
      readonly peers: readonly PeerInterest[];
      readonly drop: readonly string[];
    }
  /** The world has changed: `keys` say where; undefined: look at everything. */
  | { readonly kind: 'changed'; readonly keys: ReadonlySet<string> | undefined };

export type StreamEffect =
  | { readonly kind: 'send'; readonly message: StateMessage }
  | { readonly kind: 'end'; readonly code: 'pod-gone' | 'too-many-interests' }
  /** Step again after so many milliseconds: something that is not known yet may be certain then. */
  | { readonly kind: 'wake'; readonly afterMs: number };

/** An uid that is not in a lookup this much younger than its token is of a pod that is no more. Seconds. */
export const LAG = 30;

export function newStream(podUid: string): StreamState {
  return {
    podUid,
    addresses: new Set(),
    peers: new Map(),
    told: {
      objects: new Map(),
      answered: new Set(),
      marks: new Map(),
      trust: undefined,
      authorities: undefined,
      networks: '',
    },
    dependsOn: new Set(),
  };
}

/** One step of a stream. Pure: what is to be done stands in the effects. `first`: nothing was told on this stream yet. */
export function step(
  stream: StreamState,
  event: StreamEvent,
  world: World,
  now: number,
): { readonly state: StreamState; readonly effects: readonly StreamEffect[] } {
  let { addresses, peers } = stream;
  if (event.kind === 'asked') {
    const dropped = new Set(event.drop);
    addresses = new Set([...[...addresses].filter((one) => !dropped.has(one)), ...event.addresses]);
    const kept = [...peers].filter(([uid]) => !dropped.has(uid));
    peers = new Map([...kept, ...event.peers.map((peer) => [peer.uid, peer] as const)]);
    if (addresses.size > LIMITS.interests || peers.size > LIMITS.interests) {
      return { state: stream, effects: [{ kind: 'end', code: 'too-many-interests' }] };
    }
  } else if (event.keys !== undefined && !touches(stream.dependsOn, event.keys)) {
    return { state: stream, effects: [] };
  }
  const self = world.lookup.podsByUid.get(stream.podUid);
  const first = stream.told.objects.size === 0;
  if (self === undefined) {
    // A replica may not have heard of a new pod yet; a pod that was there and is not any more is gone.
    const state = { ...stream, addresses, peers, dependsOn: new Set([`uid/${stream.podUid}`]) };
    return { state, effects: first ? [] : [{ kind: 'end', code: 'pod-gone' }] };
  }

  const trust = world.trust(self.pod.namespace);
  const named = new Set([...peers.values()].map(({ pod }) => pod));
  const { objects, dependsOn } = sliceOf(world.lookup, self, { addresses, peers: named }, world.selectors);
  const { told } = stream;
  const set = [...objects].filter(([name, object]) => !sameObject(told.objects.get(name), object));
  const remove = [...told.objects.keys()].filter((name) => !objects.has(name));
  const answered = [...addresses].filter((one) => !told.answered.has(one));
  const judged = marksOf(peers, objects, world, now);
  const marks = judged.marks.filter(({ uid, notBefore }) => told.marks.get(uid) !== notBefore);
  const networks = JSON.stringify(world.networks);
  const state: StreamState = {
    podUid: stream.podUid,
    addresses,
    peers,
    told: {
      objects,
      answered: addresses,
      marks: new Map([...told.marks, ...marks.map(({ uid, notBefore }) => [uid, notBefore] as const)]),
      trust,
      authorities: world.authorities,
      networks,
    },
    dependsOn: new Set([
      ...dependsOn,
      `uid/${stream.podUid}`,
      ...[...peers.keys()].map((uid) => `uid/${uid}`),
    ]),
  };
  const wake: StreamEffect[] =
    judged.againIn === undefined ? [] : [{ kind: 'wake', afterMs: judged.againIn * 1000 }];
  const newTrust = told.trust !== trust;
  const newAuthorities = told.authorities !== world.authorities;
  const newNetworks = told.networks !== networks;
  const silent =
    set.length + remove.length + answered.length + marks.length === 0 &&
    !newTrust &&
    !newAuthorities &&
    !newNetworks;
  if (silent) return { state, effects: wake };
  const message: StateMessage = {
    type: 'state',
    reset: first,
    more: false,
    self: `${self.pod.namespace}/${self.pod.name}`,
    set: set.map(([, object]) => wireObject(object)),
    remove,
    answered,
    marks,
    ...(newNetworks ? { networks: world.networks } : {}),
    ...(newTrust ? { trust } : {}),
    ...(newAuthorities ? { authorities: world.authorities } : {}),
  };
  return { state, effects: [{ kind: 'send', message }, ...wake] };
}

/** The marks over the pods that a sidecar knows: second keys, and peers whose pod is certainly no more. */
function marksOf(
  peers: ReadonlyMap<string, PeerInterest>,
  objects: ReadonlyMap<string, ClusterObject>,
  world: World,
  now: number,
): { marks: Mark[]; againIn: number | undefined } {
  const marks: Mark[] = [];
  let againIn: number | undefined;
  const uids = new Set(peers.keys());
  for (const object of objects.values()) if (object.kind === 'Pod') uids.add(object.pod.uid);
  for (const uid of uids) {
    const mark = world.marks.get(uid);
    if (mark !== undefined) marks.push({ uid, notBefore: mark, reason: 'second-key' });
  }
  for (const { uid, issuedAt } of peers.values()) {
    const pod = world.lookup.podsByUid.get(uid);
    if (pod !== undefined && !pod.finished) continue;
    // Its token was signed while it lived. An index confirmed well after that and without it has seen it go.
    if (pod !== undefined || world.gone.has(uid) || world.confirmedAt >= issuedAt + LAG) {
      // A uid never comes back: the mark is the same whenever and by whichever replica it is made.
      marks.push({ uid, notBefore: GONE_FOR_EVER, reason: 'gone' });
    } else {
      againIn = Math.min(againIn ?? Infinity, Math.max(1, issuedAt + LAG - now));
    }
  }
  return { marks, againIn };
}

/** Later than every token. */
export const GONE_FOR_EVER = 253_402_300_799;

function sameObject(before: ClusterObject | undefined, after: ClusterObject): boolean {
  if (before === after) return true;
  // Policies are wrapped anew every time; what is inside stays the same.
  return before !== undefined && 'policy' in before && 'policy' in after && before.policy === after.policy;
}

/** Whether a stream depends on something that has changed. */
export function touches(dependsOn: ReadonlySet<string>, keys: ReadonlySet<string>): boolean {
  const [small, large] = dependsOn.size < keys.size ? [dependsOn, keys] : [keys, dependsOn];
  for (const key of small) if (large.has(key)) return true;
  return false;
}
