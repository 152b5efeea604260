import {
  encodeServerMessage,
  parseClientMessage,
  type ServerMessage,
} from '../authority-protocol/messages.ts';
import { API_VERSION } from '../authority-protocol/limits.ts';
import type { ObjectChange } from '../sources/cluster-contents.ts';
import { ClusterLookup } from './cluster-lookup.ts';
import type { ClusterFeed } from './kube-access.ts';
import { networksOf } from './networks.ts';
import { PendingQuestions } from './pending-questions.ts';
import { RateLimit } from './rate-limit.ts';
import { SelectorCache } from './slice.ts';
import { Dependents } from './dependents.ts';
import { newStream, step, type StreamEvent, type StreamState, type World } from './stream-state.ts';

const ALIVE_MS = 5_000;
/** How long a stream waits for a pod that this replica has not heard of. */
const UNKNOWN_POD_MS = 15_000;
/** What may wait for a sidecar that does not read, bytes. */
const MOST_WAITING = 16 << 20;
/** How many objects stand in one line: a line has a bound, a slice has a larger one. */
const OBJECTS_PER_LINE = 500;

/** What answering a sidecar's questions took, so many times it waits with the next ones: asking takes no more than a tenth of a CPU from the others. */
const REST = 9;
/** A line counts once for each so many characters. */
const LINE_UNIT = 4_096;

/** How many pods that left are remembered; of older ones the age of their tokens tells. */
const MOST_GONE = 65_536;

/** The other end of a stream: an HTTP/2 stream, or a test. */
export interface StreamPort {
  /** Sends a line. @returns bytes that wait to be sent */
  write(line: string): number;
  /** Ends the stream; why is for the log and for the next attempt's answer. */
  end(code: string): void;
}

interface Open {
  state: StreamState;
  readonly port: StreamPort;
  /** RFC 7638 thumbprint of the key whose holder opened it. */
  readonly key: string;
  readonly openedAt: number;
  wake: NodeJS.Timeout | undefined;
  /** Questions that wait until the answer to the last ones has been paid for. */
  asked: PendingQuestions;
  /** Monotonic milliseconds: before, its questions wait. */
  restsUntil: number;
  later: NodeJS.Timeout | undefined;
}

export interface StreamsOptions {
  readonly feed: ClusterFeed;
  readonly release: string;
  /** What changes with the keys: trust bundle, certificates of authorities, marks of second keys. */
  readonly trust: (namespace: string) => object;
  readonly authorities: () => string;
  readonly marks: () => ReadonlyMap<string, number>;
  /** RFC 7638 thumbprint of the key that counts for a pod; undefined: none is known here. */
  readonly keyOf: (podUid: string) => string | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** All streams of this replica: steps them when the cluster, the keys or their questions change. */
export class Streams {
  readonly #options: StreamsOptions;
  readonly #open = new Map<string, Open>();
  readonly #selectors = new SelectorCache();
  readonly #lines = new RateLimit({ burst: 2_000, perSecond: 200, names: 20_000 });
  readonly #unsubscribe: () => void;
  readonly #alive: NodeJS.Timeout;
  readonly #index = new Dependents<Open>();
  #lookup: ClusterLookup | undefined;
  #networks: World['networks'] = { pods: [], services: [] };
  readonly #gone = new Set<string>();
  #draining = false;
  /** What streams were last told by keys and records. */
  #keyed: { readonly authorities: string; readonly marks: ReadonlyMap<string, number> } | undefined;

  constructor(options: StreamsOptions) {
    this.#options = options;
    this.#unsubscribe = options.feed.subscribe((changes) => this.#follow(changes));
    this.#alive = setInterval(() => this.#tellAlive(), ALIVE_MS).unref();
    this.#follow([]);
  }

  get size(): number {
    return this.#open.size;
  }

  /** undefined until the whole cluster was seen. */
  get lookup(): ClusterLookup | undefined {
    return this.#lookup;
  }

  /**
   * Opens the stream of a pod. An older one of the same pod ends.
   * @param key RFC 7638 thumbprint of the key whose holder asks; when another one replaces it, the stream ends
   */
  open(
    podUid: string,
    key: string,
    port: StreamPort,
  ): { onLine: (line: string) => void; onClose: () => void } {
    const former = this.#open.get(podUid);
    former?.port.end('replaced');
    if (former !== undefined) this.#forget(former);
    const open: Open = {
      state: newStream(podUid),
      port,
      key,
      openedAt: this.#now(),
      wake: undefined,
      asked: new PendingQuestions(),
      restsUntil: 0,
      later: undefined,
    };
    this.#open.set(podUid, open);
    this.#write(open, { type: 'hello', version: API_VERSION, release: this.#options.release });
    this.#step(open, { kind: 'changed', keys: undefined });
    if (this.#draining) this.#write(open, { type: 'bye' });
    return {
      onLine: (line) => this.#hear(open, line),
      onClose: () => {
        this.#forget(open);
        if (this.#open.get(podUid) === open) this.#open.delete(podUid);
      },
    };
  }

  /** Trust, certificates or marks may have changed: the streams that it concerns are looked at. A look costs a whole slice. */
  refresh(): void {
    const before = this.#keyed;
    const now = { authorities: this.#options.authorities(), marks: this.#options.marks() };
    this.#keyed = now;
    const uids = new Set([...(before?.marks.keys() ?? []), ...now.marks.keys()]);
    const changed = [...uids].filter((uid) => before?.marks.get(uid) !== now.marks.get(uid));
    for (const uid of changed) this.#endReplaced(uid);
    if (before === undefined || before.authorities !== now.authorities) return this.#look(undefined);
    const keys = new Set(changed.map((uid) => `uid/${uid}`));
    const concerned = this.#index.concerned(keys);
    const told = new Map<string, object>();
    for (const open of [...this.#open.values()]) {
      if (concerned.has(open) || this.#hasNewTrust(open, told))
        this.#step(open, { kind: 'changed', keys: undefined });
    }
  }

  /** Whose key was replaced is told nothing more about the pod. */
  #endReplaced(uid: string): void {
    const open = this.#open.get(uid);
    const counts = this.#options.keyOf(uid);
    if (open !== undefined && counts !== undefined && counts !== open.key) open.port.end('identity-invalid');
  }

  /** @param told what pods of a namespace are told, as far as it was asked for already */
  #hasNewTrust({ state }: Open, told: Map<string, object>): boolean {
    const namespace = this.#lookup?.podsByUid.get(state.podUid)?.pod.namespace;
    if (namespace === undefined) return false;
    const trust = told.get(namespace) ?? this.#options.trust(namespace);
    told.set(namespace, trust);
    return state.told.trust !== trust;
  }

  /** Tells every sidecar to go elsewhere. */
  drain(): void {
    this.#draining = true;
    for (const open of [...this.#open.values()]) this.#write(open, { type: 'bye' });
  }

  close(): void {
    this.#unsubscribe();
    clearInterval(this.#alive);
    for (const open of [...this.#open.values()]) open.port.end('closing');
  }

  #follow(changes: readonly ObjectChange[]): void {
    const { feed } = this.#options;
    if (feed.state === undefined || (this.#lookup !== undefined && changes.length === 0)) return;
    let keys: ReadonlySet<string> | undefined;
    if (this.#lookup === undefined) this.#lookup = new ClusterLookup(feed.objects());
    else {
      keys = this.#lookup.apply(changes);
      this.#bury(changes);
    }
    if (keys?.has('networks') !== false) {
      this.#networks = networksOf(this.#lookup.nodes.values(), this.#lookup.serviceCidrs.values());
    }
    this.#look(keys);
  }

  /** Remembers the pods that have gone. */
  #bury(changes: readonly ObjectChange[]): void {
    for (const { before } of changes) if (before?.kind === 'Pod') this.#gone.add(before.pod.uid);
    for (const { after } of changes) if (after?.kind === 'Pod') this.#gone.delete(after.pod.uid);
    for (const uid of this.#gone) {
      if (this.#gone.size <= MOST_GONE) break;
      this.#gone.delete(uid);
    }
  }

  #forget(open: Open): void {
    clearTimeout(open.wake);
    clearTimeout(open.later);
    this.#index.update(open, open.state.dependsOn, new Set());
  }

  /** Steps the streams that depend on one of the keys; undefined: all. */
  #look(keys: ReadonlySet<string> | undefined): void {
    const concerned = keys === undefined ? [...this.#open.values()] : this.#index.concerned(keys);
    for (const open of concerned) this.#step(open, { kind: 'changed', keys });
  }

  #hear(open: Open, line: string): void {
    const { podUid } = open.state;
    const cost = 1 + Math.floor(line.length / LINE_UNIT);
    if (!this.#lines.take(podUid, performance.now() / 1000, cost)) return open.port.end('too-many-requests');
    const message = parseClientMessage(line);
    if (typeof message === 'string') return open.port.end('malformed');
    if (message?.type !== 'ask') return;
    open.asked.add(message);
    if (open.asked.tooMany) return open.port.end('too-many-interests');
    this.#answer(open);
  }

  /** Answers what was asked, now or when it is the sidecar's turn again. */
  #answer(open: Open): void {
    if (open.later !== undefined) return;
    const began = performance.now();
    if (began < open.restsUntil) {
      const again = (): void => {
        open.later = undefined;
        this.#answer(open);
      };
      open.later = setTimeout(again, Math.ceil(open.restsUntil - began)).unref();
      return;
    }
    this.#step(open, { kind: 'asked', ...open.asked.take() });
    open.restsUntil = began + (1 + REST) * (performance.now() - began);
  }

  #step(open: Open, event: StreamEvent): void {
    const { feed, trust, authorities, marks } = this.#options;
    if (this.#lookup === undefined) return;
    const now = this.#now() / 1000;
    const world: World = {
      lookup: this.#lookup,
      selectors: this.#selectors,
      networks: this.#networks,
      trust,
      authorities: authorities(),
      marks: marks(),
      gone: this.#gone,
      confirmedAt: (feed.confirmedAt ?? 0) / 1000,
    };
    const { state, effects } = step(open.state, event, world, now);
    if (this.#open.get(state.podUid) === open) {
      this.#index.update(open, open.state.dependsOn, state.dependsOn);
    }
    open.state = state;
    for (const effect of effects) {
      if (effect.kind === 'end') open.port.end(effect.code);
      else if (effect.kind === 'send') this.#send(open, effect.message);
      else {
        clearTimeout(open.wake);
        const again = (): void => this.#step(open, { kind: 'changed', keys: undefined });
        open.wake = setTimeout(again, effect.afterMs).unref();
      }
    }
  }

  #send(open: Open, message: ServerMessage & { type: 'state' }): void {
    const { set } = message;
    for (let from = 0; ; from += OBJECTS_PER_LINE) {
      const rest = from + OBJECTS_PER_LINE < set.length;
      const part = set.slice(from, from + OBJECTS_PER_LINE);
      // Everything else stands in the first line, so that a reader adds up from there.
      this.#write(
        open,
        from === 0
          ? { ...message, set: part, more: rest }
          : {
              type: 'state',
              reset: false,
              more: rest,
              self: message.self,
              set: part,
              remove: [],
              answered: [],
              marks: [],
            },
      );
      if (!rest) return;
    }
  }

  #write(open: Open, message: ServerMessage): void {
    if (open.port.write(encodeServerMessage(message)) > MOST_WAITING) open.port.end('too-slow');
  }

  #tellAlive(): void {
    const at = this.#now();
    const view = this.#options.feed.confirmedAt;
    for (const open of [...this.#open.values()]) {
      if (open.state.told.objects.size === 0 && at - open.openedAt > UNKNOWN_POD_MS)
        open.port.end('pod-gone');
      else if (view !== undefined) this.#write(open, { type: 'alive', at, view });
    }
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now();
  }
}
