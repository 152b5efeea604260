import type { ClientContext } from '../handshake/client.ts';
import type { Carrier } from '../handshake/frame-types.ts';
import { buildHello } from '../handshake/hello.ts';
import { type CounterWindow, ReplayWindow } from '../handshake/replay-window.ts';
import type { Session } from '../handshake/sessions.ts';
import type { Endpoint } from '../lib/address.ts';
import type { DialReport } from '../relay/data-path.ts';
import type { NativeQueuePasses } from '../native.ts';
import type { OwnedWindow, QueuePassSettings, Resumption } from '../relay/resumption.ts';
import type { FlowEnd, PodName } from './flow.ts';
import type { Judgement } from './judgement.ts';
import type { ProvenPeer } from './peer.ts';

/** A pass holds so long: what no change tells of (a clock that was set, an address that left) is looked at again at least so often. */
const LIFETIME_MS = 60_000;
/** A handshake by a pass takes a moment; it shall be over before its session is. */
const BEFORE_SESSION_END_MS = 2_000;
/** Counters that go with an outbound pass: few against the server's window, many against what is dialled before the next pass. */
const COUNTERS = 4_096;
/** Handshakes of one burst end at once: one pass is enough for them. */
const AGAIN_AFTER_MS = 250;
/** The same for a session of a caller, whatever else a Hello says: who varied that with each call would have those of others forgotten. */
const INBOUND_AGAIN_AFTER_MS = 1_000;
/** Passes that are remembered, so that what went by them is understood when it is told: at most so many, and so long after their end. */
const REMEMBERED = 65_536;
const AFTER_END_MS = 5_000;

/** What a pass stands for: the values that records of its connections are made of. */
export interface GivenPass {
  readonly number: number;
  readonly revision: number;
  readonly direction: 'inbound' | 'outbound';
  readonly peer: ProvenPeer;
  /** Of the end that is not the one told; the other one gets the name and the address that is told. */
  readonly destination: FlowEnd;
  readonly sourceName: PodName;
  readonly judgement: Judgement;
  /** The verdict on a connection from this address, now. */
  readonly rejudge: (address: string) => Judgement;
  /** Monotonic milliseconds: no connection begins by it from then on. */
  readonly endsAt: number;
  /** Of an outbound pass: told of each SYN. */
  readonly noteDial?: PassSyn['note'];
}

/** How the SYN of a dial by a pass goes, and who wants to know what became of it. */
export interface PassSyn {
  readonly fastOpen: boolean;
  readonly synData: boolean;
  readonly note: (begunAt: number, report: DialReport) => void;
}

/** Another one who takes what went by passes, and what they have begun. */
export interface PassUser {
  /** All that went by a pass so far. */
  tell(): void;
  /** {@link tell}, and all that passes have begun is its own from here on. */
  takeBack(): void;
}

export type Told = Omit<GivenPass, 'number' | 'revision' | 'direction' | 'endsAt' | 'noteDial'>;

/** A session that is offered by a pass, and what it means that it is answered by. */
export interface Offered {
  readonly session: Session<ProvenPeer>;
  /** The first of the counters that were set aside. */
  readonly first: bigint;
  readonly told: Told;
}

/** The passes that the data path has, and what they stand for. Given when a connection was judged; taken back with every change. */
export class Passes {
  readonly #resumption: Resumption | undefined;
  readonly #now: () => number;
  readonly #given = new Map<number, GivenPass>();
  /** Apart, because keys are in them: nothing is left of those that were taken back. */
  readonly #contexts = new Map<number, ClientContext<ProvenPeer>>();
  readonly #lastGiven = new Map<string, number>();
  #last = 0;
  #revision = 0;
  #ended = false;
  #queues: PassUser | undefined;
  readonly #onDefect: (error: unknown) => void;
  #toGive: (() => void)[] = [];

  /** @param now monotonic milliseconds */
  constructor(
    resumption: Resumption | undefined,
    now: () => number = () => performance.now(),
    onDefect: (error: unknown) => void = rethrow,
  ) {
    this.#resumption = resumption;
    this.#now = now;
    this.#onDefect = onDefect;
  }

  /**
   * Calls `give` when this turn of the event loop has been carried out: a pass is for the next connection, and the bytes of this one wait for nothing but
   * the end of the turn. It has to look at everything anew.
   */
  soon(give: () => void): void {
    if (this.#resumption === undefined || this.#ended) return;
    // Behind the wake-up of the data path (setImmediate, too), which was asked for before.
    if (this.#toGive.push(give) === 1) setImmediate(() => this.giveNow());
  }

  /** The end of the turn, for who does not wait for it. */
  giveNow(): void {
    for (const give of this.#toGive.splice(0)) {
      try {
        if (!this.#ended) give();
      } catch (error) {
        this.#onDefect(error);
      }
    }
  }

  /**
   * Lets passes of the carrier `syn` decide packets of queues.
   * @param user who has the flows of those queues
   * @returns undefined where the data path knows no passes
   */
  openQueues(settings: QueuePassSettings, user: PassUser): NativeQueuePasses | undefined {
    this.#queues = user;
    return this.#resumption?.openQueues?.(settings);
  }

  /** How many passes are remembered. */
  get remembered(): number {
    return this.#given.size;
  }

  /** Where the counters of a session are kept: with whoever spends them. */
  createWindow(): CounterWindow {
    return this.#resumption?.openWindow() ?? new ReplayWindow();
  }

  find(number: number): GivenPass | undefined {
    return this.#given.get(number);
  }

  /** How a handshake that an outbound pass has begun goes on when it goes otherwise; undefined once the pass was taken back. */
  contextOf(number: number): ClientContext<ProvenPeer> | undefined {
    return this.#contexts.get(number);
  }

  /** Whether nothing has changed since a pass was given. */
  stands(pass: GivenPass): boolean {
    return pass.revision === this.#revision;
  }

  /** Before a change counts as enforced. */
  revoke(): void {
    // While it can still be known how what was begun goes on.
    this.#queues?.takeBack();
    this.#revision++;
    this.#lastGiven.clear();
    this.#contexts.clear();
    this.#resumption?.revoke();
    // What they have established until now belongs to what is judged again.
    this.tell();
  }

  /** Everything that went by a pass so far is told before this returns. */
  tell(): void {
    this.#resumption?.tell();
    this.#queues?.tell();
  }

  /** Takes all back and gives none any more. */
  end(): void {
    this.#ended = true;
    this.revoke();
  }

  /**
   * Whether {@link giveOutbound} would give one now: what it wants to know takes a look at policy and a context, and of a burst of handshakes with one
   * place the first alone needs them.
   * @param sessions how many it would offer; one more is another pass
   */
  isDueOutbound(carrier: Carrier, dialled: Endpoint, target: Endpoint, sessions = 1): boolean {
    return this.#isDue(keyOf(carrier, dialled, target, sessions), this.#now());
  }

  /**
   * Lets connections of the application to `dialled` resume one of these sessions with `target`.
   * @param target with the candidates that connections there are spread between; it is one of them
   * @param reserve sets so many counters aside of each session that is to be offered; several alone where the network picks who answers
   * @param sessions as for {@link isDueOutbound}
   */
  giveOutbound(
    dialled: Endpoint,
    {
      endpoint: target,
      candidates,
    }: { readonly endpoint: Endpoint; readonly candidates: readonly Endpoint[] },
    context: ClientContext<ProvenPeer>,
    syn: PassSyn,
    reserve: (counters: number) => readonly Offered[],
    sessions = 1,
  ): void {
    const now = this.#now();
    const { carrier } = context;
    const key = keyOf(carrier, dialled, target, sessions);
    if (!this.#isDue(key, now)) return;
    this.#noteGiven(key, now);
    const reserved = reserve(COUNTERS);
    const lifetimeMs = Math.min(...reserved.map(({ session }) => lifetimeOf(session, now)));
    if (reserved.length === 0 || lifetimeMs <= 0) return;
    const offers = reserved.map(({ session, first }) => ({ session, counter: first }));
    const hello = buildHello({
      wishes: context.wishes,
      carrier: context.carrier,
      nonce: context.randomness.nonce,
      ephemeral: context.randomness.publicKey,
      destination: context.destination,
      cookie: new Uint8Array(0),
      token: context.credentials.token,
      offers,
      admissionKey: context.admissionKey,
    });
    const { note: noteDial, ...options } = syn;
    const given = reserved.map(({ told, ...offer }) => {
      const number = this.#remember({ ...told, direction: 'outbound', endsAt: now + lifetimeMs, noteDial });
      return { ...offer, number };
    });
    const [{ number, session, first }, ...others] = given as [(typeof given)[0], ...typeof given];
    this.#contexts.set(number, { ...context, offers });
    const ofSeveral = candidates.length > 1;
    if (ofSeveral) this.#resumption?.choiceOutbound({ lifetimeMs: LIFETIME_MS, dialled, candidates });
    this.#resumption?.passOutbound({
      number,
      carrier,
      lifetimeMs,
      session,
      dialled,
      target,
      ofSeveral,
      ...options,
      hello,
      admissionKey: context.admissionKey,
      counters: { first, count: COUNTERS },
      others,
    });
  }

  /** Lets connections from `peer` to `reached` resume this session, with a Hello for `meant`. */
  giveInbound(
    peer: string,
    reached: Endpoint,
    meant: Endpoint,
    admissionKeys: readonly Uint8Array[],
    found: { session: Session<ProvenPeer>; window: CounterWindow },
    {
      keepSource,
      carrier,
      offered,
      ...told
    }: Told & {
      readonly keepSource: boolean;
      readonly carrier: Carrier;
      /** The ids of all sessions in the Hello, where it may be several. */
      readonly offered?: readonly Uint8Array[];
    },
  ): void {
    const now = this.#now();
    const { session, window } = found;
    const lifetimeMs = lifetimeOf(session, now);
    if (this.#resumption === undefined || this.#ended || lifetimeMs <= 0) return;
    if (!isOwned(window) || admissionKeys.length === 0 || admissionKeys.length > MAX_ADMISSION_KEYS) return;
    const key = `${Buffer.from(session.id).toString('latin1')} ${peer} ${keyOf(carrier, reached, meant, offered?.length ?? 1)}`;
    if (!this.#isDue(key, now, INBOUND_AGAIN_AFTER_MS)) return;
    this.#noteGiven(key, now);
    const number = this.#remember({ ...told, direction: 'inbound', endsAt: now + lifetimeMs });
    const { peerToken: token } = session;
    this.#resumption.passInbound({
      number,
      carrier,
      lifetimeMs,
      session,
      window,
      peer,
      reached,
      target: reached,
      meant,
      token,
      keepSource,
      admissionKeys,
      ...(offered === undefined ? {} : { offered }),
    });
  }

  #isDue(key: string, now: number, afterMs = AGAIN_AFTER_MS): boolean {
    if (this.#resumption === undefined || this.#ended) return false;
    return now - (this.#lastGiven.get(key) ?? Number.NEGATIVE_INFINITY) >= afterMs;
  }

  #noteGiven(key: string, now: number): void {
    if (this.#lastGiven.size >= REMEMBERED) this.#lastGiven.clear();
    this.#lastGiven.set(key, now);
  }

  #remember(pass: Omit<GivenPass, 'number' | 'revision'>): number {
    const number = ++this.#last;
    this.#given.set(number, { ...pass, number, revision: this.#revision });
    this.#forget(number - REMEMBERED);
    this.#forgetEnded();
    return number;
  }

  /** The oldest first. One that ended earlier than an older one waits for that: a minute at most. */
  #forgetEnded(): void {
    const ended = this.#now() - AFTER_END_MS;
    let told = false;
    for (const [number, pass] of this.#given) {
      if (pass.endsAt > ended) return;
      // After this nobody will ask for it.
      if (!told) this.tell();
      told = true;
      this.#forget(number);
    }
  }

  #forget(number: number): void {
    this.#given.delete(number);
    this.#contexts.delete(number);
  }
}

/** The data thread keeps no more for a pass; an installation has as many as its trust bundle has keys. */
const MAX_ADMISSION_KEYS = 8;

function keyOf(carrier: Carrier, dialled: Endpoint, target: Endpoint, sessions: number): string {
  return `${carrier} ${dialled.address} ${dialled.port} ${target.address} ${target.port} ${sessions}`;
}

function rethrow(error: unknown): never {
  throw error;
}

function lifetimeOf(session: Session<ProvenPeer>, now: number): number {
  return Math.floor(Math.min(LIFETIME_MS, session.expiresAt - now - BEFORE_SESSION_END_MS));
}

function isOwned(window: CounterWindow): window is OwnedWindow {
  return 'session' in window;
}
