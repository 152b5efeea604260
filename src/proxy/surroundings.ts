import type { OwnCredentials } from '../handshake/credentials.ts';
import type { EphemeralKey } from '../lib/curves.ts';
import type { RecentNonces } from '../handshake/recent-nonces.ts';
import type { ClientSessions, ServerSessions } from '../handshake/sessions.ts';
import type { TokenRefusal, VerifyToken } from '../handshake/credentials.ts';
import type { ProvenPeer } from './peer.ts';
import type { Endpoint } from '../lib/address.ts';
import type { FastOpenMemory } from './fast-open-memory.ts';
import type { FlowSink } from './flow.ts';
import type { HalfOpen } from './half-open.ts';
import type { HandshakeGate } from './handshake-gate.ts';
import type { HandshakeTurns } from './handshake-turns.ts';
import type { OpenFlows } from './open-flows.ts';
import type { Passes } from './passes.ts';
import type { CandidatesOf } from './target.ts';
import type { FindForeignOwner, View } from './view.ts';

/** All that the life of a connection touches outside itself. */
export interface Surroundings {
  /** undefined until policy is there: everything is refused. */
  readonly view: () => View | undefined;
  /** Resolves at the next change of the view, or after so many milliseconds. */
  readonly changed: (timeoutMs: number) => Promise<void>;
  readonly identity: IdentityAccess;
  readonly sessions: {
    readonly client: ClientSessions<ProvenPeer>;
    readonly server: ServerSessions<ProvenPeer>;
    readonly recentNonces: RecentNonces;
  };
  readonly passes: Passes;
  readonly open: OpenFlows;
  readonly halfOpen: HalfOpen;
  readonly gate: HandshakeGate;
  readonly turns: HandshakeTurns;
  readonly sink: FlowSink;
  readonly candidates: CandidatesOf;
  readonly silentPeers: SilentPeers;
  readonly fastOpen: FastOpenMemory;
  /** An ephemeral key for one handshake, given to nobody else. */
  readonly takeEphemeral: () => EphemeralKey;
  /** Nonces of own Hellos that wait for their Reply, hex. */
  readonly pendingHellos: Set<string>;
  /** Whether an address belongs to this network namespace. */
  readonly isLocalAddress: (address: string) => boolean;
  readonly nodeTraffic: NodeTraffic;
  /** The application is dialled from the client's address. */
  readonly keepSource: boolean;
  readonly draining: () => boolean;
}

/** Which traffic of the own node is let in without proof: to declared probe ports, all, or none. */
export type NodeTraffic = 'probes' | 'all' | 'none';

export interface IdentityAccess {
  /** undefined when there is no valid own identity at the moment. */
  readonly credentials: () => OwnCredentials | undefined;
  readonly ownAdmissionKey: () => Uint8Array | undefined;
  readonly admissionKeys: () => readonly Uint8Array[];
  readonly verify: VerifyToken<ProvenPeer>;
  readonly explainUnadmitted: (token: Uint8Array) => TokenRefusal;
  /** Whether a peer that proved itself earlier would be believed now, but for the end of its token. */
  readonly stillHolds: (peer: ProvenPeer) => boolean;
  /** Who of another trust domain has an address that nobody of this cluster has. Left out: there are no other domains. */
  readonly foreignOwner?: FindForeignOwner;
}

/** Servers that answered a preamble with something else a moment ago. */
export interface SilentPeers {
  has(server: Endpoint): boolean;
  add(server: Endpoint): void;
}

/** Limits in time of a connection's life, milliseconds. */
export const DEADLINE = {
  /** From the accepted connection to the end of its handshake. */
  handshake: 5_000,
  /** How long a SYN's promise of a preamble, or the hope for one, is waited for. */
  firstBytes: 3_000,
  /** The same for a refused client that the source does not call enrolled: most send at once what tells them apart. */
  firstBytesOfOthers: 500,
  /** How long an address that nobody knows is held for the source. */
  unknownAddress: 1_000,
} as const;
