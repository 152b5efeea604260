import { LRUCache } from 'lru-cache';
import type { PeerIdentity } from './credentials.ts';
import { MAX_OFFERS } from './frame-types.ts';
import type { HandshakeKeys } from './key-schedule.ts';
import { type CounterWindow, ReplayWindow } from './replay-window.ts';

/** A session may be resumed for this long, and never past the end of either token. Milliseconds. */
export const SESSION_LIFETIME_MS = 10 * 60_000;

const MAX_SERVER_SESSIONS = 16_384;
/** Of one pod: a client has one for each name that it calls this pod by, and makes so many at once at first (src/proxy/handshake-gate.ts). */
const MAX_SESSIONS_OF_PEER = 64;
const MAX_CLIENT_DESTINATIONS = 4_096;

/** One full handshake's result, kept in memory alone so that later connections cost a MAC. */
export interface Session<I extends PeerIdentity> {
  readonly id: Uint8Array;
  readonly clientKey: Uint8Array;
  readonly serverKey: Uint8Array;
  readonly peer: I;
  /** The peer's token as it came over the wire; a Hello with another one does not resume this session. */
  readonly peerToken: Uint8Array;
  /** Monotonic milliseconds. */
  readonly expiresAt: number;
}

/** Makes a session of the keys of a full handshake. Times: `monotonic` in milliseconds, the rest in seconds since the epoch. */
export function sessionOf<I extends PeerIdentity>(
  keys: HandshakeKeys,
  peer: I,
  peerToken: Uint8Array,
  clock: { monotonic: number; epochSeconds: number },
  ownExpiresAt: number,
): Session<I> {
  const untilExpiry = (Math.min(peer.expiresAt, ownExpiresAt) - clock.epochSeconds) * 1000;
  return {
    id: keys.sessionId,
    clientKey: keys.clientResume,
    serverKey: keys.serverResume,
    peer,
    // A copy: the token is a view of a frame that should not stay alive for ten minutes.
    peerToken: peerToken.slice(),
    expiresAt: clock.monotonic + Math.min(SESSION_LIFETIME_MS, untilExpiry),
  };
}

interface ClosableWindow extends CounterWindow {
  close?(): void;
}

/**
 * The sessions that this side accepts, by their id. Bounded; the least recently used goes first, and of one peer's the oldest: each takes up to 16 KB with
 * its token and the counters seen, and a peer may make new ones as fast as it can sign.
 */
export class ServerSessions<I extends PeerIdentity> {
  readonly #createWindow: () => ClosableWindow;
  #cleared = 0;
  readonly #byId = new LRUCache<string, { session: Session<I>; window: ClosableWindow }>({
    maxSize: MAX_SERVER_SESSIONS,
    sizeCalculation: () => 1,
    dispose: ({ session, window }, key) => {
      window.close?.();
      this.#leave(session.peer.podUid, key);
    },
  });
  /** Their keys by the peer's pod, the oldest first. */
  readonly #ofPeer = new Map<string, Set<string>>();

  /** @param createWindow where the counters of a new session are kept; in memory of its own unless somebody else owns them */
  constructor(createWindow: () => ClosableWindow = () => new ReplayWindow()) {
    this.#createWindow = createWindow;
  }

  get size(): number {
    return this.#byId.size;
  }

  add(session: Session<I>): void {
    const { podUid } = session.peer;
    const [oldest] = this.#ofPeer.get(podUid) ?? [];
    if (oldest !== undefined && this.#ofPeer.get(podUid)!.size >= MAX_SESSIONS_OF_PEER)
      this.#byId.delete(oldest);
    const key = keyOf(session.id);
    this.#byId.set(key, { session, window: this.#createWindow() });
    const keys = this.#ofPeer.get(podUid) ?? new Set();
    this.#ofPeer.set(podUid, keys.add(key));
  }

  #leave(podUid: string, key: string): void {
    const keys = this.#ofPeer.get(podUid);
    keys?.delete(key);
    if (keys?.size === 0) this.#ofPeer.delete(podUid);
  }

  /** {@link add} until the next {@link clear}: a handshake that was begun under another identity leaves nothing behind. */
  adder(): (session: Session<I>) => void {
    const cleared = this.#cleared;
    return (session) => {
      if (this.#cleared === cleared) this.add(session);
    };
  }

  /** The live session of this id with the window of its counters. */
  find(id: Uint8Array, monotonic: number): { session: Session<I>; window: CounterWindow } | undefined {
    const found = this.#byId.get(keyOf(id));
    if (found === undefined) return undefined;
    if (found.session.expiresAt > monotonic) return found;
    this.#byId.delete(keyOf(id));
    return undefined;
  }

  /** Forgets the sessions of peers of which `gone` is true. */
  dropPeers(gone: (peer: I) => boolean): void {
    for (const [key, { session }] of this.#byId) if (gone(session.peer)) this.#byId.delete(key);
  }

  /** When the own identity changes: sessions are bound to both tokens. */
  clear(): void {
    this.#cleared++;
    this.#byId.clear();
  }
}

/** The sessions that this side can offer, by the address dialled: behind a Service address stand several servers. */
export class ClientSessions<I extends PeerIdentity> {
  readonly #byDestination = new LRUCache<string, { session: Session<I>; counter: bigint }[]>({
    maxSize: MAX_CLIENT_DESTINATIONS,
    sizeCalculation: () => 1,
  });
  #cleared = 0;

  get size(): number {
    let size = 0;
    for (const sessions of this.#byDestination.values()) size += sessions.length;
    return size;
  }

  /** Keeps the newest eight of a destination, one per peer. */
  add(destination: string, session: Session<I>): void {
    const others = (this.#byDestination.get(destination) ?? []).filter(
      (other) => other.session.peer.podUid !== session.peer.podUid,
    );
    this.#byDestination.set(destination, [{ session, counter: 0n }, ...others].slice(0, MAX_OFFERS));
  }

  /** {@link add} until the next {@link clear}: a handshake that was begun under another identity leaves nothing behind. */
  adder(): (destination: string, session: Session<I>) => void {
    const cleared = this.#cleared;
    return (destination, session) => {
      if (this.#cleared === cleared) this.add(destination, session);
    };
  }

  /** The sessions to offer there now. Each offer takes the next counter of its session: a counter is never offered twice. */
  offer(destination: string, monotonic: number): { session: Session<I>; counter: bigint }[] {
    const kept = this.#byDestination.get(destination)?.filter((entry) => entry.session.expiresAt > monotonic);
    if (kept === undefined) return [];
    if (kept.length === 0) this.#byDestination.delete(destination);
    else this.#byDestination.set(destination, kept);
    return kept.map((entry) => ({ session: entry.session, counter: entry.counter++ }));
  }

  /**
   * Sets counters aside that nobody else will offer.
   * @returns the session and the first of them; undefined unless there is exactly one live session for that destination
   */
  reserve(
    destination: string,
    monotonic: number,
    counters: number,
  ): { session: Session<I>; first: bigint } | undefined {
    const live = this.#byDestination.get(destination)?.filter((entry) => entry.session.expiresAt > monotonic);
    const [entry] = live ?? [];
    if (entry === undefined || live?.length !== 1) return undefined;
    const first = entry.counter;
    entry.counter += BigInt(counters);
    return { session: entry.session, first };
  }

  /**
   * {@link reserve} for all live sessions of a destination, in the order in which {@link offer} has them.
   * @param most of them, the newest
   */
  reserveAll(
    destination: string,
    monotonic: number,
    counters: number,
    most: number,
  ): { session: Session<I>; first: bigint }[] {
    const live = this.#byDestination.get(destination)?.filter((entry) => entry.session.expiresAt > monotonic);
    return (live ?? []).slice(0, most).map((entry) => {
      const first = entry.counter;
      entry.counter += BigInt(counters);
      return { session: entry.session, first };
    });
  }

  /** How many sessions there are for a destination, live or not. */
  count(destination: string): number {
    return this.#byDestination.get(destination)?.length ?? 0;
  }

  dropPeers(gone: (peer: I) => boolean): void {
    for (const [destination, sessions] of this.#byDestination) {
      const kept = sessions.filter((entry) => !gone(entry.session.peer));
      if (kept.length === 0) this.#byDestination.delete(destination);
      else if (kept.length < sessions.length) this.#byDestination.set(destination, kept);
    }
  }

  clear(): void {
    this.#cleared++;
    this.#byDestination.clear();
  }
}

function keyOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1');
}
