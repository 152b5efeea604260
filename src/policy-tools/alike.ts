import { parseAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, parseCidr } from '../lib/cidr.ts';
import type { Party } from '../policy/judge.ts';
import type { LabelSelector } from '../policy/model.ts';
import type { Mentions } from './mentions.ts';

/**
 * Says which ends no policy can tell apart: same namespace, same values of every label that a selector asks for, same named
 * ports, same ipBlocks. Replicas of a workload are alike, mostly.
 */
export class Likeness {
  readonly #podKeys = new Set<string>();
  readonly #namespaceKeys = new Set<string>();
  readonly #blocks: Cidr[] = [];

  constructor({ podSelectors, namespaceSelectors, cidrs }: Mentions) {
    for (const selector of podSelectors) addKeys(this.#podKeys, selector);
    for (const selector of namespaceSelectors) addKeys(this.#namespaceKeys, selector);
    for (const text of cidrs) {
      const cidr = parseCidr(text);
      if (cidr !== undefined) this.#blocks.push(cidr);
    }
  }

  /** Equal for ends that are alike. */
  key(party: Party | undefined): string {
    if (party === undefined) return '';
    if (party.kind === 'address') return JSON.stringify([this.#blocksOf(party.address), party.node]);
    const ports = party.namedPorts.map(({ name, port, protocol }) => `${name} ${port} ${protocol}`);
    return JSON.stringify([
      party.namespace,
      [...this.#podKeys].map((key) => (Object.hasOwn(party.labels, key) ? party.labels[key] : null)),
      [...this.#namespaceKeys].map((key) =>
        Object.hasOwn(party.namespaceLabels, key) ? party.namespaceLabels[key] : null,
      ),
      ports.toSorted(),
      party.addresses.map((address) => this.#blocksOf(address)),
      party.node,
    ]);
  }

  #blocksOf(text: string): string {
    const address = parseAddress(text);
    if (address === undefined) return '';
    const inside = this.#blocks.map((block) => (cidrContains(block, address) ? '1' : '0')).join('');
    return `${address.family}:${inside}`;
  }
}

function addKeys(keys: Set<string>, selector: LabelSelector): void {
  for (const key of Object.keys(selector.matchLabels)) keys.add(key);
  for (const { key } of selector.matchExpressions) keys.add(key);
}
