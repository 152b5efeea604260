import { drawRandomness } from '../handshake/ephemeral.ts';
import { MAX_FRAME_BYTES } from '../handshake/frame-types.ts';
import { decodeFrame } from '../handshake/frames.ts';
import type { Carrier } from '../handshake/frame-types.ts';
import type { ServerContext } from '../handshake/server.ts';
import type { ServerSessions, Session } from '../handshake/sessions.ts';
import type { DenyReason } from '../observe/reasons.ts';
import type { ProvenPeer } from './peer.ts';
import type { Endpoint } from '../lib/address.ts';
import type { Connection, ConnectionEvent } from './connection.ts';
import { Flow } from './flow.ts';
import { type JudgePeer, serverHandshake } from './handshakes.ts';
import { allowed, denied, type Judgement } from './judgement.ts';
import { denial, eventReason, refuse, refuseEvent, refuseResult } from './refusing.ts';
import { DEADLINE, type Surroundings } from './surroundings.ts';
import { rejudge } from './open-flows.ts';
import { hasFastOpenOption } from './syn.ts';
import { endOf, kindOf, nameOf, notReady, provenEnd, unprovenKind, type View } from './view.ts';

/**
 * The life of a connection that somebody made to this pod, from the accepted socket to its record.
 *
 * Who marks its SYN is expected to speak the preamble; everybody else is judged by address at once, and is still heard when a
 * preamble comes after all, since networks lose marks. Nothing reaches the application before a verdict, and no preamble byte ever.
 */
export async function inbound(connection: Connection, around: Surroundings): Promise<void> {
  const { peer, local, original, syn, begun } = connection.accepted;
  const destination = original ?? local;
  const flow = new Flow(around.sink, connection, {
    direction: 'inbound',
    peer: 'unproven',
    handshake: 'none',
    source: endOf(around.view(), peer),
    destination: endOf(around.view(), destination),
  });

  if (isOwnListener(original, local)) return refuse(flow, 'not-redirected');
  if (!around.isLocalAddress(destination.address)) return refuse(flow, 'destination-not-local');
  if (around.draining()) return refuse(flow, 'draining');
  const view = around.view();
  if (view === undefined) return flow.deny(notReady());
  const owner = view.owner(peer.address);
  flow.learn({ peer: unprovenKind(owner) });

  // Who is waited for takes a place; who is served without a proof does not.
  let place: (() => void) | undefined;
  const leave = (): void => {
    place?.();
    place = undefined;
  };
  const firstFrame = (timeoutMs: number): Promise<ConnectionEvent> => {
    place ??= around.halfOpen.enter(peer.address, () => connection.post({ kind: 'evicted' }));
    connection.readFrame('client', MAX_FRAME_BYTES);
    return connection.next(timeoutMs);
  };
  try {
    if (begun !== undefined) return await proven(flow, begun.hello, destination, around, leave, true);
    if (hasFastOpenOption(syn)) {
      const first = await firstFrame(DEADLINE.firstBytes);
      if (first.kind === 'frame') return await proven(flow, first.frame, destination, around, leave);
      if (first.kind !== 'notFrame' && first.kind !== 'timeout') return refuseEvent(flow, first);
    }

    const judgement = judgeUnproven(around.view() ?? view, peer.address, destination.port, around);
    if (judgement.verdict === 'deny') {
      const mayHaveSidecar =
        owner.kind === 'unknown' || owner.kind === 'foreign' || (owner.kind === 'pod' && owner.pod.enrolled);
      const patience = mayHaveSidecar ? DEADLINE.firstBytes : DEADLINE.firstBytesOfOthers;
      const first = await firstFrame(patience);
      if (first.kind === 'frame') return await proven(flow, first.frame, destination, around, leave);
      // A sidecar that left unheard, say since its Hello was lost, has not been refused for what it did not prove: it calls again.
      const left = first.kind === 'closed' || (first.kind === 'notFrame' && first.endOfFile);
      const leftUnheard = left && owner.kind === 'pod' && owner.pod.enrolled;
      return first.kind === 'frameTooLarge' || first.kind === 'evicted' || leftUnheard
        ? refuseEvent(flow, first)
        : flow.deny(judgement);
    }

    leave();
    dialApplication(connection, destination, around);
    const dialled = await connection.next();
    if (dialled.kind !== 'dialled') return refuseEvent(flow, dialled);
    if (dialled.error !== undefined) return refuse(flow, dialRefusal(dialled), dialled.error);
    // Between question and answer something may have changed that cuts it now.
    const standing = judgeUnproven(around.view() ?? view, peer.address, destination.port, around);
    if (standing.verdict === 'deny') return flow.deny(standing);
    flow.rejudge = () => judgeUnproven(around.view() ?? view, peer.address, destination.port, around);
    connection.relay({ guard: true });
    const late = await relayed(flow, around, judgement);
    if (late === undefined) return;
    if (late.upstreamSpoke) return refuse(flow, 'preamble-late');
    connection.dropUpstream();
    const first = await firstFrame(DEADLINE.firstBytes);
    if (first.kind !== 'frame') return refuseEvent(flow, first);
    return await proven(flow, first.frame, destination, around, leave);
  } finally {
    leave();
  }
}

/**
 * A connection whose first frame is here: proof, verdict, application, relay.
 * @param spent a pass has spent the Hello's counter for this very connection
 */
async function proven(
  flow: Flow,
  hello: Uint8Array,
  destination: Endpoint,
  around: Surroundings,
  leave: () => void,
  spent = false,
): Promise<void> {
  const { connection } = flow;
  const from = connection.accepted.peer.address;
  const leaveTurns = around.turns.enter(from, () => connection.post({ kind: 'turn' }));
  if (leaveTurns !== undefined) {
    const happened = await connection.next();
    leaveTurns();
    if (happened.kind !== 'turn') return refuseEvent(flow, happened);
  }
  const context = serverContext(destination, around, 'stream', spent);
  if (context === undefined) return refuse(flow, 'identity-unavailable');
  let judged: Judgement | undefined;
  const judge: JudgePeer = async (peer, handshake) => {
    leave();
    flow.learn({
      peer: kindOf(peer),
      handshake,
      source: provenEnd(connection.accepted.peer, peer),
    });
    judged = judgeClient(peer, from, destination, around);
    if (judged.verdict === 'deny') return denial(judged);
    // The application is dialled before it is said that all is well: who is told yes is connected.
    dialApplication(connection, destination, around);
    const dialled = await connection.next();
    if (dialled.kind !== 'dialled') return { allow: false, ...eventReason(dialled) };
    if (dialled.error !== undefined)
      return { allow: false, reason: dialRefusal(dialled), detail: dialled.error };
    // Between question and answer something may have changed that cuts it now.
    judged = judgeClient(peer, from, destination, around);
    if (judged.verdict === 'deny') return denial(judged);
    flow.rejudge = () => judgeClient(peer, from, destination, around);
    flow.judge(judged);
    return { allow: true };
  };
  const result = await serverHandshake(connection, hello, context, judge, DEADLINE.handshake);
  if (result.kind !== 'established') return refuseResult(flow, result, judged);
  const { session } = result;
  if (session !== undefined) around.passes.soon(() => givePass(flow, hello, session, destination, around));
  await relayed(flow, around);
}

/** Dials the application: from the client's own address, port included, where that is asked for and the client is not this pod. */
function dialApplication(connection: Connection, destination: Endpoint, around: Surroundings): void {
  const { peer } = connection.accepted;
  const source = keepsSource(peer.address, around) ? { source: peer } : {};
  connection.dial(destination, { fastOpen: false, ...source });
}

function keepsSource(address: string, around: Surroundings): boolean {
  return around.keepSource && !around.isLocalAddress(address);
}

/** Without the client's address the application is not called at all: many trust what comes from their own. */
function dialRefusal(dialled: Extract<ConnectionEvent, { kind: 'dialled' }>): DenyReason {
  return dialled.report?.unbound === true ? 'source-not-kept' : 'dial-failed';
}

/** The next connection from there by this session may go without asking. */
function givePass(
  flow: Flow,
  hello: Uint8Array,
  { id, peer }: Session<ProvenPeer>,
  destination: Endpoint,
  around: Surroundings,
): void {
  const frame = decodeFrame(hello);
  const found = around.sessions.server.find(id, performance.now());
  const { address } = flow.connection.accepted.peer;
  const rejudge = (from: string): Judgement => judgeClient(peer, from, destination, around);
  const judgement = rejudge(address);
  if (frame.type !== 'hello' || found === undefined || judgement.verdict === 'deny') return;
  around.passes.giveInbound(address, destination, frame.destination, around.identity.admissionKeys(), found, {
    peer,
    judgement,
    rejudge,
    destination: flow.facts.destination,
    sourceName: nameOf(peer),
    keepSource: keepsSource(address, around),
    carrier: 'stream',
  });
}

/** What the server's machine needs for a connection that reached `destination`; undefined while there is no own identity. */
export function serverContext(
  destination: Endpoint,
  around: Surroundings,
  carrier: Carrier,
  spent = false,
): ServerContext<ProvenPeer> | undefined {
  const credentials = around.identity.credentials();
  if (credentials === undefined) return undefined;
  return {
    credentials,
    admissionKeys: around.identity.admissionKeys(),
    randomness: drawRandomness(around.takeEphemeral),
    carrier,
    wishes: { encryption: 'none' },
    verify: (token) => around.identity.verify(token),
    explainUnadmitted: (token) => around.identity.explainUnadmitted(token),
    ownsDestination: (meant) => ownsDestination(around.view(), meant, destination),
    isOwnHello: (nonce) => around.pendingHellos.has(Buffer.from(nonce).toString('hex')),
    sessions: sessionsOf(around.sessions.server, spent),
    recentNonces: around.sessions.recentNonces,
  };
}

/** The sessions for one handshake. @param spent they are found as by a Hello whose counter was spent for it already */
function sessionsOf(
  sessions: ServerSessions<ProvenPeer>,
  spent: boolean,
): ServerContext<ProvenPeer>['sessions'] {
  return {
    add: sessions.adder(),
    find: (id, monotonic) => {
      const found = sessions.find(id, monotonic);
      return found && spent ? { session: found.session, window: { use: () => 'fresh' } } : found;
    },
  };
}

/** The destination that a client meant is this pod's if it is the address reached, or a Service's that leads to the port reached. */
function ownsDestination(view: View | undefined, meant: Endpoint, reached: Endpoint): boolean {
  if (view === undefined) return false;
  if (view.isSelf(meant.address)) return meant.port === reached.port;
  return view.snapshot.self.addresses.some((address) =>
    view.snapshot.directory
      .destinationsOf(address, reached.port)
      .some((one) => one.address === meant.address && one.port === meant.port),
  );
}

/** The verdict about a client that proved itself. `from` is the address that it came from. */
export function judgeClient(
  peer: ProvenPeer,
  from: string,
  destination: Endpoint,
  around: Surroundings,
): Judgement {
  const view = around.view();
  if (view === undefined) return notReady();
  if (view.isGone(peer) || !around.identity.stillHolds(peer)) {
    return denied('identity-revoked', 'enforce');
  }
  if (peer.podUid === view.snapshot.self.uid) return allowed('self');
  return view.inboundProven(peer, from, destination.port);
}

function judgeUnproven(view: View, address: string, port: number, around: Surroundings): Judgement {
  if (around.nodeTraffic !== 'none') {
    const owner = view.snapshot.directory.owner(address);
    const { self } = view.snapshot;
    const ownNode = owner.kind === 'node' && owner.name === self.nodeName;
    if (ownNode && (around.nodeTraffic === 'all' || self.probePorts.includes(port)))
      return allowed('node-probe');
  }
  return view.inboundUnproven(address, port);
}

/** How long an unproven connection is not counted yet, because a preamble may still follow a SYN whose mark was lost. */
const SETTLED_MS = 1_000;

/**
 * Waits while the relay runs; gives the preamble that came after all, or undefined when the connection is over.
 * @param unsettled the verdict about an unproven peer, counted once no preamble followed
 */
async function relayed(
  flow: Flow,
  around: Surroundings,
  unsettled?: Judgement,
): Promise<{ upstreamSpoke: boolean } | undefined> {
  around.open.add(flow);
  try {
    let event = await flow.connection.next(unsettled === undefined ? undefined : SETTLED_MS);
    if (event.kind !== 'preamble' && unsettled !== undefined && flow.judgement === undefined) {
      flow.judge(unsettled);
      // What changed meanwhile could not be counted before there was a verdict.
      rejudge(flow);
    }
    for (;;) {
      if (event.kind === 'preamble') return event;
      if (event.kind === 'closed') {
        flow.end(event.closed);
        return undefined;
      }
      event = await flow.connection.next();
    }
  } finally {
    around.open.delete(flow);
  }
}

/** REDIRECT leaves the original destination; where there is none, or it is the listener itself, somebody came straight to it. */
function isOwnListener(original: Endpoint | undefined, local: Endpoint): boolean {
  return original === undefined || (original.address === local.address && original.port === local.port);
}
