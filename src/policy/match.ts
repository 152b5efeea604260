import type { IpAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, parseCidr } from '../lib/cidr.ts';
import type { PolicyPeerFacts } from './evaluate.ts';
import type { Direction, PolicyPeer } from './model.ts';
import { type CompiledSelector, compileSelector, selectorMatches } from './selector.ts';

/**
 * Whether a peer is one that a rule names. `unknown`: the rule names pods, and the peer has not proven which pod it is. A rule
 * that allows takes unknown for no, a rule that denies must take it for yes; so proving oneself can only widen access.
 */
export type Match = 'yes' | 'no' | 'unknown';

/** One entry of `from` or `to`, ready to be asked often. */
export type CompiledPeer =
  | {
      readonly kind: 'pods';
      /** The only namespace that counts, where the rule has no namespaceSelector: the policy's own. */
      readonly namespace: string | undefined;
      readonly namespaceSelector: CompiledSelector;
      readonly podSelector: CompiledSelector;
    }
  | { readonly kind: 'block'; readonly cidr: Cidr; readonly except: readonly Cidr[]; readonly text: string }
  /** Cannot be understood, and so matches nobody: decoding refuses such a policy before it comes here. */
  | { readonly kind: 'never' };

const EVERYTHING: CompiledSelector = { requirements: [] };

/**
 * Compiles one entry of `from` or `to`.
 * @param namespace that of the policy: a podSelector alone means pods of it
 */
export function compilePeer(peer: PolicyPeer, namespace: string): CompiledPeer {
  if (peer.kind === 'block') {
    const cidr = parseCidr(peer.cidr);
    const except = peer.except.map(parseCidr);
    if (cidr === undefined || except.includes(undefined)) return { kind: 'never' };
    return { kind: 'block', cidr, except: except as Cidr[], text: peer.cidr };
  }
  const { podSelector, namespaceSelector } = peer;
  if (podSelector === undefined && namespaceSelector === undefined) return { kind: 'never' };
  return {
    kind: 'pods',
    namespace: namespaceSelector === undefined ? namespace : undefined,
    namespaceSelector: namespaceSelector === undefined ? EVERYTHING : compileSelector(namespaceSelector),
    podSelector: podSelector === undefined ? EVERYTHING : compileSelector(podSelector),
  };
}

/**
 * Whether the labels of this peer may be compared at all. Inbound only proof counts: an address can be borrowed. Outbound an
 * address belongs to whom the source says, and that is all anyone has about a pod that cannot prove itself.
 */
export function labelsCount(direction: Direction, peer: PolicyPeerFacts): boolean {
  return peer.kind === 'proven' || (peer.kind === 'pod' && direction === 'outbound');
}

/**
 * Whether a peer is one that this entry of `from` or `to` names.
 * @param address the peer's address as numbers; undefined when it has none that can be read, and then no block matches
 */
export function matchPeer(
  wanted: CompiledPeer,
  direction: Direction,
  peer: PolicyPeerFacts,
  address: IpAddress | undefined,
): Match {
  if (wanted.kind === 'block') return address !== undefined && blockContains(wanted, address) ? 'yes' : 'no';
  if (wanted.kind === 'never') return 'no';
  if (peer.kind === 'address' || !labelsCount(direction, peer)) return 'unknown';
  if (wanted.namespace !== undefined && wanted.namespace !== peer.namespace) return 'no';
  return selectorMatches(wanted.podSelector, peer.labels) &&
    selectorMatches(wanted.namespaceSelector, peer.namespaceLabels, peer.namespace)
    ? 'yes'
    : 'no';
}

function blockContains(block: CompiledPeer & { readonly kind: 'block' }, address: IpAddress): boolean {
  if (!cidrContains(block.cidr, address)) return false;
  for (const hole of block.except) if (cidrContains(hole, address)) return false;
  return true;
}
