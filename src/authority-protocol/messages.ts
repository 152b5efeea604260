import { canonicalAddress } from '../lib/address.ts';

/** A pod whose proof a sidecar has seen. */
export interface PeerInterest {
  /** `namespace/name`. */
  readonly pod: string;
  readonly uid: string;
  /** When its token was issued, seconds since the epoch. */
  readonly issuedAt: number;
}

/** What a sidecar says on its stream, one JSON object per line. Types that are not known are passed over: a newer sidecar says more. */
export type ClientMessage =
  | { readonly type: 'hello'; readonly version: number; readonly release: string }
  | {
      readonly type: 'ask';
      readonly addresses: readonly string[];
      readonly peers: readonly PeerInterest[];
      /** No longer of interest: addresses, and uids of peers. */
      readonly drop: readonly string[];
    };

/** Tokens of this pod that were issued before are dead. */
export interface Mark {
  readonly uid: string;
  /** Seconds since the epoch. */
  readonly notBefore: number;
  readonly reason: 'gone' | 'second-key';
}

/** A change of what a sidecar is to know. All of it counts at once. */
export interface StateMessage {
  readonly type: 'state';
  /** What is not in this message is no more. */
  readonly reset: boolean;
  /** The rest follows in the next line. */
  readonly more: boolean;
  /** The own pod, `namespace/name`. */
  readonly self: string;
  /** Objects in the form of the Kubernetes API. */
  readonly set: readonly object[];
  /** Names of objects: `pod/shop/web`. */
  readonly remove: readonly string[];
  /** Addresses about which everything is said that the authority knows. */
  readonly answered: readonly string[];
  /** The blocks of the pod network and of Services; undefined: as before. */
  readonly networks?: { readonly pods: readonly string[]; readonly services: readonly string[] };
  readonly marks: readonly Mark[];
  /** The trust bundle (a JWK set with `trust_domain`); undefined: as before. */
  readonly trust?: object;
  /** The certificates by which authorities are to be believed, PEM; undefined: as before. */
  readonly authorities?: string;
}

/** What an authority says. */
export type ServerMessage =
  | { readonly type: 'hello'; readonly version: number; readonly release: string }
  | StateMessage
  /** Sent every few seconds: `at` is the authority's clock, `view` when it last knew that its own view was the newest. Milliseconds. */
  | { readonly type: 'alive'; readonly at: number; readonly view: number }
  /** This replica is about to end: go to another. */
  | { readonly type: 'bye' };

/** Reads a line of a sidecar. @returns undefined for a type that is not known here; a text where it breaks the rules */
export function parseClientMessage(line: string): ClientMessage | undefined | string {
  const message = objectOf(line);
  if (message === undefined) return 'no JSON object';
  switch (message['type']) {
    case 'hello': {
      const { version, release } = message;
      if (!isCount(version)) return 'hello.version has to be a number';
      return { type: 'hello', version, release: typeof release === 'string' ? release.slice(0, 64) : '' };
    }
    case 'ask': {
      const addresses = texts(message['addresses'], 64);
      const drop = texts(message['drop'], 128);
      const listed = message['peers'] ?? [];
      if (addresses === undefined || drop === undefined || !Array.isArray(listed)) {
        return 'ask.addresses, ask.peers and ask.drop have to be lists';
      }
      if (addresses.some((one) => canonicalAddress(one) !== one)) {
        return 'ask.addresses has to hold addresses in canonical form';
      }
      const peers: PeerInterest[] = [];
      for (const entry of listed as unknown[]) {
        const { pod, uid, issued_at } = (entry ?? {}) as Record<string, unknown>;
        if (typeof pod !== 'string' || !POD.test(pod)) return 'ask.peers.pod has to be NAMESPACE/NAME';
        if (typeof uid !== 'string' || !UID.test(uid)) return 'ask.peers.uid has to be a uid';
        if (!isCount(issued_at)) return 'ask.peers.issued_at has to be a number of seconds';
        peers.push({ pod, uid, issuedAt: issued_at });
      }
      return { type: 'ask', addresses, peers, drop };
    }
    default:
      return typeof message['type'] === 'string' ? undefined : 'type is missing';
  }
}

/** Writes a line of a sidecar. */
export function encodeClientMessage(message: ClientMessage): string {
  if (message.type === 'hello') return `${JSON.stringify(message)}\n`;
  const peers = message.peers.map(({ pod, uid, issuedAt }) => ({ pod, uid, issued_at: issuedAt }));
  return `${JSON.stringify({ ...message, peers })}\n`;
}

/** Writes a line of an authority. */
export function encodeServerMessage(message: ServerMessage): string {
  if (message.type !== 'state') return `${JSON.stringify(message)}\n`;
  const marks = message.marks.map(({ uid, notBefore, reason }) => ({ uid, not_before: notBefore, reason }));
  return `${JSON.stringify({ ...message, marks })}\n`;
}

/** Reads a line of an authority. @returns undefined for a type that is not known here; a text where it breaks the rules */
export function parseServerMessage(line: string): ServerMessage | undefined | string {
  const message = objectOf(line);
  if (message === undefined) return 'no JSON object';
  switch (message['type']) {
    case 'hello': {
      const { version, release } = message;
      if (!isCount(version)) return 'hello.version has to be a number';
      return { type: 'hello', version, release: typeof release === 'string' ? release.slice(0, 64) : '' };
    }
    case 'alive': {
      const { at, view } = message;
      return isCount(at) && isCount(view)
        ? { type: 'alive', at, view }
        : 'alive.at and alive.view have to be numbers';
    }
    case 'bye':
      return { type: 'bye' };
    case 'state':
      return stateOf(message);
    default:
      return typeof message['type'] === 'string' ? undefined : 'type is missing';
  }
}

function stateOf(message: Record<string, unknown>): StateMessage | string {
  const { self, set = [], marks = [], trust, authorities, networks } = message;
  const remove = texts(message['remove'], 600);
  const answered = texts(message['answered'], 64);
  if (typeof self !== 'string' || !POD.test(self)) return 'state.self has to be NAMESPACE/NAME';
  if (!Array.isArray(set) || remove === undefined || answered === undefined || !Array.isArray(marks)) {
    return 'state.set, state.remove, state.answered and state.marks have to be lists';
  }
  const read: Mark[] = [];
  for (const entry of marks as unknown[]) {
    const { uid, not_before, reason } = (entry ?? {}) as Record<string, unknown>;
    if (typeof uid !== 'string' || !UID.test(uid) || !isCount(not_before)) {
      return 'state.marks has to hold uid and not_before';
    }
    // A reason of a newer authority kills as well.
    read.push({ uid, notBefore: not_before, reason: reason === 'second-key' ? 'second-key' : 'gone' });
  }
  const blocks = networks as { pods?: unknown; services?: unknown } | undefined;
  const [pods, services] = [texts(blocks?.pods, 64), texts(blocks?.services, 64)];
  if (pods === undefined || services === undefined) return 'state.networks has to hold lists of blocks';
  if (trust !== undefined && (typeof trust !== 'object' || trust === null)) return 'state.trust is no object';
  if (authorities !== undefined && typeof authorities !== 'string') return 'state.authorities is no text';
  return {
    type: 'state',
    reset: message['reset'] === true,
    more: message['more'] === true,
    self,
    set: set as object[],
    remove,
    answered,
    marks: read,
    ...(blocks === undefined ? {} : { networks: { pods, services } }),
    ...(trust === undefined ? {} : { trust }),
    ...(authorities === undefined ? {} : { authorities }),
  };
}

const POD = /^[a-z0-9][-a-z0-9]{0,62}\/[a-z0-9][-.a-z0-9]{0,252}$/;
const UID = /^[A-Za-z0-9._-]{1,64}$/;

function objectOf(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function texts(value: unknown, longest: number): readonly string[] | undefined {
  if (value === undefined) return [];
  return Array.isArray(value) && value.every((one) => typeof one === 'string' && one.length <= longest)
    ? (value as string[])
    : undefined;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
