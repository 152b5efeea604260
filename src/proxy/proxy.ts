import { RecentNonces } from '../handshake/recent-nonces.ts';
import { ClientSessions, ServerSessions } from '../handshake/sessions.ts';
import type { ProvenPeer } from './peer.ts';
import type { Endpoint } from '../lib/address.ts';
import type { EphemeralKey } from '../lib/curves.ts';
import type { Accepted, DataPath, DataPathEvents, Listener } from '../relay/data-path.ts';
import type { Source } from '../sources/source.ts';
import { Connection, ConnectionTable } from './connection.ts';
import { halfOpenBounds } from './connection-bounds.ts';
import { FastOpenMemory, type OnFastOpen } from './fast-open-memory.ts';
import { EphemeralPool } from './ephemeral-pool.ts';
import type { FlowSink } from './flow.ts';
import { HalfOpen, type HalfOpenBounds } from './half-open.ts';
import { HandshakeGate } from './handshake-gate.ts';
import { HandshakeTurns } from './handshake-turns.ts';
import { inbound } from './inbound.ts';
import { OpenFlows } from './open-flows.ts';
import { outbound } from './outbound.ts';
import { SilentPeerMemory } from './silent-peers.ts';
import { Passes } from './passes.ts';
import { refuseBeyondLimit } from './beyond-limit.ts';
import { type ByPassSurroundings, PassingFacts, resumed } from './resumed.ts';
import type { IdentityAccess, NodeTraffic, Surroundings } from './surroundings.ts';
import type { CandidatesOf } from './target.ts';
import type { View } from './view.ts';
import { type OnEvaluated, Views } from './views.ts';

export interface ProxyOptions {
  readonly source: Source;
  readonly identity: IdentityAccess;
  /** Makes a key for one handshake; left out: by `node:crypto`. */
  readonly generateEphemeral?: () => EphemeralKey;
  readonly createDataPath: (events: DataPathEvents) => DataPath;
  readonly sink: FlowSink;
  readonly candidates: CandidatesOf;
  readonly isLocalAddress: (address: string) => boolean;
  readonly nodeTraffic: NodeTraffic;
  /** Dials the application from the client's address, which takes a data path, rules and a capability that allow it. */
  readonly keepSource?: boolean;
  /** Places for strangers; left out: as many as where nothing bounds the open connections. */
  readonly halfOpen?: HalfOpenBounds;
  /** Tells whether a connection is the proxy's own test of the redirection; it ends there then. */
  readonly isProbe?: (accepted: Accepted) => boolean;
  /** Called after every change of policy, peers or labels. */
  readonly onView?: (view: View) => void;
  readonly onEvaluated?: OnEvaluated;
  /** Called for each marked dial that led to a connection. */
  readonly onFastOpen?: OnFastOpen;
  /** Called for each connection that went by a pass and stays for a while. */
  readonly onOpened?: () => void;
  /** A life that threw: a defect, its connection is reset. */
  readonly onDefect: (error: unknown) => void;
}

/** The sidecar: accepts what redirection brings, and gives each connection its life. */
export class Proxy {
  readonly open: OpenFlows;
  readonly #options: ProxyOptions;
  readonly #views: Views;
  readonly #dataPath: DataPath;
  readonly #table: ConnectionTable;
  readonly #around: Surroundings;
  readonly #ephemerals: EphemeralPool;
  readonly #listeners: Listener[] = [];
  #draining = false;
  #byPass = 0;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.open = new OpenFlows(options.onDefect, () => this.tell());
    this.#ephemerals = new EphemeralPool(undefined, options.generateEphemeral);
    this.#views = new Views(
      options.source,
      (view) => this.#viewChanged(view),
      options.onEvaluated,
      (address) => options.identity.foreignOwner?.(address),
    );
    let shared: ByPassSurroundings | undefined;
    this.#table = new ConnectionTable(
      (id, accepted) => this.#accept(id, accepted),
      (told) => {
        this.#byPass++;
        try {
          const connection = resumed(told, (shared ??= this.#byPassSurroundings()));
          if (connection !== undefined) options.onOpened?.();
          return connection;
        } catch (error) {
          // The rest of the news is of others: none of them may go unjudged.
          this.#dataPath.reset(told.id);
          options.onDefect(error);
          return undefined;
        }
      },
    );
    this.#dataPath = options.createDataPath(this.#table);
    const passes = new Passes(this.#dataPath.resumption, undefined, options.onDefect);
    this.#around = {
      view: () => this.#views.current,
      changed: (timeoutMs) => this.#views.changed(timeoutMs),
      identity: options.identity,
      sessions: {
        client: new ClientSessions<ProvenPeer>(),
        server: new ServerSessions<ProvenPeer>(() => passes.createWindow()),
        recentNonces: new RecentNonces(),
      },
      passes,
      open: this.open,
      halfOpen: new HalfOpen(options.halfOpen ?? halfOpenBounds({ mostAccepted: Infinity })),
      gate: new HandshakeGate(),
      turns: new HandshakeTurns(),
      sink: options.sink,
      candidates: options.candidates,
      silentPeers: new SilentPeerMemory(),
      fastOpen: new FastOpenMemory(options.onFastOpen ?? (() => {})),
      takeEphemeral: this.#ephemerals.take,
      pendingHellos: new Set(),
      isLocalAddress: options.isLocalAddress,
      nodeTraffic: options.nodeTraffic,
      keepSource: options.keepSource ?? false,
      draining: () => this.#draining,
    };
  }

  /** Connections accepted and not yet ended, judged or not. */
  get connections(): number {
    return this.#table.size;
  }

  /** Connections that a pass has established, so far. */
  get byPass(): number {
    this.tell();
    return this.#byPass;
  }

  /** How often the system gave no pipe for bulk, so far. */
  get pipesRefused(): number {
    return this.#dataPath.pipesRefused ?? 0;
  }

  /** Connections that have proven nothing yet. */
  get halfOpen(): number {
    return this.#around.halfOpen.size;
  }

  /** What the life of a connection touches outside itself: NFQUEUE mode shares sessions, limits and open flows. */
  get surroundings(): Surroundings {
    return this.#around;
  }

  get view(): View | undefined {
    return this.#views.current;
  }

  /** Counts and records now what went by passes until now, so that what is read next is whole. */
  tell(): void {
    this.#around.passes.tell();
  }

  /** Starts to accept on an address. */
  async listen(role: 'inbound' | 'outbound', endpoint: Endpoint): Promise<Endpoint> {
    const listener = await this.#dataPath.listen({ role, ...endpoint });
    this.#listeners.push(listener);
    return listener.endpoint;
  }

  /** The own identity or the trust in others has changed: sessions are bound to both, and what is open is judged again. */
  identityChanged(): void {
    this.#around.passes.revoke();
    this.#around.sessions.client.clear();
    this.#around.sessions.server.clear();
    this.open.rejudge();
  }

  /** Refuses what is new and waits for what is open, for so many milliseconds at most. Gives how many were left then. */
  async drain(graceMs: number): Promise<number> {
    this.#draining = true;
    this.#around.passes.end();
    const until = performance.now() + graceMs;
    while (this.#table.size > 0 && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return this.#table.size;
  }

  /** Resets what is left and ends. */
  async close(): Promise<void> {
    this.#draining = true;
    this.#around.passes.end();
    this.#views.close();
    this.open.close();
    this.#ephemerals.close();
    for (const listener of this.#listeners) listener.close();
    await this.#dataPath.close();
  }

  #byPassSurroundings(): ByPassSurroundings {
    return {
      dataPath: this.#dataPath,
      passes: this.#around.passes,
      open: this.open,
      sink: this.#options.sink,
      passing: new PassingFacts(),
    };
  }

  #accept(id: number, accepted: Accepted): Connection {
    const connection = new Connection(this.#dataPath, id, accepted);
    if (this.#options.isProbe?.(accepted) === true) connection.reset();
    else if (accepted.beyondLimit !== undefined) this.#refuse(connection, accepted.beyondLimit);
    else void this.#live(connection);
    return connection;
  }

  /** There is no room for it. */
  #refuse(connection: Connection, why: NonNullable<Accepted['beyondLimit']>): void {
    this.#dataPath.limit?.refused(why, connection.accepted.role);
    try {
      refuseBeyondLimit(connection, why, this.#around);
    } catch (error) {
      connection.reset();
      this.#options.onDefect(error);
    }
  }

  async #live(connection: Connection): Promise<void> {
    try {
      const live = connection.accepted.role === 'inbound' ? inbound : outbound;
      await live(connection, this.#around);
    } catch (error) {
      connection.reset();
      this.#options.onDefect(error);
    }
  }

  #viewChanged(view: View): void {
    // The first view comes while the constructor still runs; nothing is open then.
    if (this.#around !== undefined) {
      this.#around.passes.revoke();
      const gone = (peer: ProvenPeer): boolean => view.isGone(peer);
      this.#around.sessions.client.dropPeers(gone);
      this.#around.sessions.server.dropPeers(gone);
      this.open.rejudge();
    }
    this.#options.onView?.(view);
  }
}
