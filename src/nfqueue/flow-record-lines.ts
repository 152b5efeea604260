import type { HandshakeKind } from '../handshake/outcome.ts';
import { canonicalAddress, type Endpoint } from '../lib/address.ts';
import { isReason } from '../observe/reasons.ts';
import type { VerifyingKey } from '../lib/curves.ts';
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
  | { readonly kind: 'peer' }
  | { readonly kind: 'add'; readonly id: string; readonly flow: KeptFlow }
  | { readonly kind: 'end'; readonly id: string };

const MAX_LINE = 65_536;
/** A file of another version holds nothing that could be read. */
const VERSION = 2;
const peerTexts = new WeakMap<ProvenPeer, string>();
/** A flow that was verified is not verified again. What nobody needs is not kept, and nothing is signed by it. */
const NO_KEY: VerifyingKey = { verify: () => false };

/** Numbers that a file gives to peers: one peer has many flows, and is most of what there is to say of each. */
export class PeerNumbers {
  readonly #numbers = new Map<string, number>();

  /** @returns the number of a peer, and the line that has to come before the first use of it */
  of(peer: ProvenPeer): { number: number; line: string } {
    const text = peerText(peer);
    const known = this.#numbers.get(text);
    if (known !== undefined) return { number: known, line: '' };
    const number = this.#numbers.size;
    this.#numbers.set(text, number);
    return { number, line: `{"peer":${number},"is":${text}}\n` };
  }
}

function peerText(peer: ProvenPeer): string {
  let text = peerTexts.get(peer);
  if (text === undefined) {
    text = JSON.stringify({ ...peer, publicKey: undefined });
    peerTexts.set(peer, text);
  }
  return text;
}

/** Direction, addresses and ports: what names a flow in the file, and in conntrack. */
export function flowId(direction: 'inbound' | 'outbound', source: Endpoint, destination: Endpoint): string {
  return `${direction} ${source.address} ${source.port} ${destination.address} ${destination.port}`;
}

/** The line that keeps a flow, after that of its peer where this file has none yet. */
export function addLine(id: string, flow: KeptFlow, peers: PeerNumbers): string {
  const { number: peer, line } = peers.of(flow.peer);
  const { direction, source, destination, handshake, since, judgement } = flow;
  const add = { id, direction, source, destination, handshake, since, judgement, peer };
  return `${line}${JSON.stringify({ add })}\n`;
}

/** The line that ends a flow. */
export function endLine(id: string): string {
  return `${JSON.stringify({ end: id })}\n`;
}

/** The first line of a run. */
export function runLine(generation: number): string {
  return `${JSON.stringify({ run: generation, version: VERSION })}\n`;
}

/** Reads the lines of one file, in their order. */
export class RecordReader {
  readonly #peers = new Map<number, ProvenPeer>();

  /** Undefined: the line is none, as the last one of a process that was killed may be. */
  read(text: string): RecordLine | undefined {
    if (text.length > MAX_LINE) return undefined;
    try {
      const line = JSON.parse(text) as Record<string, unknown>;
      if (typeof line['end'] === 'string') return { kind: 'end', id: line['end'] };
      if (Number.isInteger(line['run']) && line['version'] === VERSION)
        return { kind: 'run', generation: Number(line['run']) & 15 };
      if (Number.isInteger(line['peer'])) return this.#readPeer(Number(line['peer']), line['is']);
      return this.#readAdded(line['add'] as Record<string, unknown>);
    } catch {
      return undefined;
    }
  }

  #readPeer(number: number, value: unknown): RecordLine | undefined {
    const peer = readPeer(value as Record<string, unknown>);
    if (peer === undefined || this.#peers.has(number)) return undefined;
    this.#peers.set(number, peer);
    return { kind: 'peer' };
  }

  #readAdded(added: Record<string, unknown>): RecordLine | undefined {
    const { id, direction, handshake, since } = added;
    const source = readEnd(added['source']);
    const destination = readEnd(added['destination']);
    const judgement = added['judgement'] as Judgement;
    const peer = this.#peers.get(Number(added['peer']));
    if (direction !== 'inbound' && direction !== 'outbound') return undefined;
    if (handshake !== 'full' && handshake !== 'resumed') return undefined;
    if (source === undefined || destination === undefined || typeof since !== 'number') return undefined;
    if (id !== flowId(direction, source, destination)) return undefined;
    if (judgement.verdict === 'deny' || !isReason(judgement.reason)) return undefined;
    if (peer === undefined) return undefined;
    const flow: KeptFlow = { direction, source, destination, handshake, since, judgement, peer };
    return { kind: 'add', id, flow };
  }
}

function readPeer(value: Record<string, unknown>): ProvenPeer | undefined {
  const peer = value as unknown as ProvenPeer;
  const texts = [peer.podUid, peer.namespace, peer.podName, peer.issuerKeyId];
  if (peer.foreignDomain !== undefined && typeof peer.foreignDomain !== 'string') return undefined;
  if (!texts.every((text) => typeof text === 'string')) return undefined;
  if (!isLabels(peer.labels) || !isLabels(peer.namespaceLabels)) return undefined;
  if (!Number.isFinite(peer.expiresAt) || !Number.isFinite(peer.issuedAt)) return undefined;
  return { ...peer, publicKey: NO_KEY };
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
