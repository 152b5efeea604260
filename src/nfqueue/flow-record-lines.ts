import { createPublicKey } from 'node:crypto';
import type { HandshakeKind } from '../handshake/outcome.ts';
import { canonicalAddress, type Endpoint } from '../lib/address.ts';
import { isReason } from '../observe/reasons.ts';
import type { FlowEnd } from '../proxy/flow.ts';
import type { Judgement } from '../proxy/judgement.ts';
import type { ProvenPeer } from '../proxy/peer.ts';

/** What a later run needs to know of a verified flow: who is on the other side, and what was decided about it. */
export interface KeptFlow {
  readonly direction: 'inbound' | 'outbound';
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
  readonly handshake: HandshakeKind;
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly judgement: Judgement;
  readonly peer: ProvenPeer;
}

/** A line of the file of verified flows. */
export type RecordLine =
  | { readonly kind: 'run'; readonly generation: number }
  | { readonly kind: 'add'; readonly id: string; readonly flow: KeptFlow }
  | { readonly kind: 'end'; readonly id: string };

const MAX_LINE = 65_536;
const peerTexts = new WeakMap<ProvenPeer, string>();

/** Direction, addresses and ports: what names a flow in the file, and in conntrack. */
export function flowId(direction: 'inbound' | 'outbound', source: Endpoint, destination: Endpoint): string {
  return `${direction} ${source.address} ${source.port} ${destination.address} ${destination.port}`;
}

/** The line that keeps a flow. A peer's own part is made once, since one peer has many flows. */
export function addLine(id: string, flow: KeptFlow): string {
  let peer = peerTexts.get(flow.peer);
  if (peer === undefined) {
    const publicKey = flow.peer.publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
    peer = JSON.stringify({ ...flow.peer, publicKey });
    peerTexts.set(flow.peer, peer);
  }
  const { direction, source, destination, handshake, since, judgement } = flow;
  const rest = JSON.stringify({ id, direction, source, destination, handshake, since, judgement });
  return `{"add":${rest.slice(0, -1)},"peer":${peer}}}\n`;
}

/** The line that ends a flow. */
export function endLine(id: string): string {
  return `${JSON.stringify({ end: id })}\n`;
}

/** The first line of a run. */
export function runLine(generation: number): string {
  return `${JSON.stringify({ run: generation, version: 1 })}\n`;
}

/** Reads a line; undefined when it is none, as the last one of a process that was killed may be. */
export function readRecordLine(text: string): RecordLine | undefined {
  if (text.length > MAX_LINE) return undefined;
  try {
    const line = JSON.parse(text) as Record<string, unknown>;
    if (typeof line['end'] === 'string') return { kind: 'end', id: line['end'] };
    if (Number.isInteger(line['run']) && line['version'] === 1) {
      return { kind: 'run', generation: Number(line['run']) & 15 };
    }
    return readAdded(line['add'] as Record<string, unknown>);
  } catch {
    return undefined;
  }
}

function readAdded(added: Record<string, unknown>): RecordLine | undefined {
  const { id, direction, handshake, since } = added;
  const source = readEnd(added['source']);
  const destination = readEnd(added['destination']);
  const judgement = added['judgement'] as Judgement;
  const peer = added['peer'] as ProvenPeer & { publicKey: unknown };
  if (direction !== 'inbound' && direction !== 'outbound') return undefined;
  if (handshake !== 'full' && handshake !== 'resumed') return undefined;
  if (source === undefined || destination === undefined || typeof since !== 'number') return undefined;
  if (id !== flowId(direction, source, destination)) return undefined;
  if (judgement.verdict === 'deny' || !isReason(judgement.reason)) return undefined;
  const key: unknown = peer.publicKey;
  if (typeof key !== 'string') return undefined;
  const publicKey = createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' });
  const texts = [peer.podUid, peer.namespace, peer.podName, peer.issuerKeyId];
  if (peer.foreignDomain !== undefined && typeof peer.foreignDomain !== 'string') return undefined;
  if (!texts.every((text) => typeof text === 'string')) return undefined;
  if (!isLabels(peer.labels) || !isLabels(peer.namespaceLabels)) return undefined;
  if (!Number.isFinite(peer.expiresAt) || !Number.isFinite(peer.issuedAt)) return undefined;
  const flow: KeptFlow = {
    direction,
    source,
    destination,
    handshake,
    since,
    judgement,
    peer: { ...peer, publicKey },
  };
  return { kind: 'add', id, flow };
}

function readEnd(value: unknown): FlowEnd | undefined {
  const { address, port, namespace, pod, trustDomain } = value as Record<string, unknown>;
  if (typeof address !== 'string' || canonicalAddress(address) !== address) return undefined;
  if (!Number.isInteger(port) || Number(port) < 0 || Number(port) > 65_535) return undefined;
  return {
    address,
    port: Number(port),
    ...(typeof namespace === 'string' ? { namespace } : {}),
    ...(typeof pod === 'string' ? { pod } : {}),
    ...(typeof trustDomain === 'string' ? { trustDomain } : {}),
  };
}

function isLabels(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((text) => typeof text === 'string')
  );
}
