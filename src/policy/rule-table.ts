import { type IpAddress, parseAddress } from '../lib/address.ts';
import type { Cidr } from '../lib/cidr.ts';
import type { CompiledRule } from './compiled-policy.ts';
import type { NamedPort, PolicyQuery } from './evaluate.ts';
import { type CompiledPeer, labelsCount, matchPeer } from './match.ts';
import type { Direction, Labels } from './model.ts';
import { portsInclude } from './ports.ts';
import { type CompiledSelector, labelOf } from './selector.ts';

/** One peer of one rule. Entries of a list are in the order of the rules. */
interface Entry {
  readonly order: number;
  readonly rule: CompiledRule;
  /** undefined: everybody. */
  readonly peer: CompiledPeer | undefined;
}

/** label key -> value -> what asks for it. */
type ByLabel = Map<string, Map<string, Entry[]>>;

/** The blocks of one family and prefix length, by a hash of the network. */
interface BlockTier {
  readonly family: 4 | 6;
  readonly mask: Cidr['mask'];
  readonly networks: Map<number, Entry[]>;
}

/**
 * The rules of one direction, arranged so that a question meets only the entries that can match: pods by a label value that a
 * selector demands, blocks by their network. What demands nothing of the kind is tried one by one.
 */
export class RuleTable {
  readonly #direction: Direction;
  readonly #unconditional: Entry[] = [];
  readonly #byPodLabel: ByLabel = new Map();
  readonly #byNamespaceLabel: ByLabel = new Map();
  /** namespace -> what asks for pods of it alone; the key undefined: of any. */
  readonly #otherPods = new Map<string | undefined, Entry[]>();
  readonly #blocks: BlockTier[] = [];

  constructor(direction: Direction, rules: readonly CompiledRule[]) {
    this.#direction = direction;
    const demand = countDemands(rules);
    for (const [order, rule] of rules.entries()) {
      if (rule.peers === undefined) this.#unconditional.push({ order, rule, peer: undefined });
      else for (const peer of rule.peers) this.#add({ order, rule, peer }, peer, demand);
    }
  }

  /** The first rule, in the order given, that allows this; undefined when none does. */
  firstMatch(query: PolicyQuery, namedPorts: readonly NamedPort[] | undefined): CompiledRule | undefined {
    const { peer } = query;
    let best = this.#search(this.#unconditional, query, namedPorts, undefined, undefined);
    if (peer.kind !== 'address' && labelsCount(this.#direction, peer)) {
      for (const namespace of [peer.namespace, undefined]) {
        const others = this.#otherPods.get(namespace);
        if (others !== undefined) best = this.#search(others, query, namedPorts, undefined, best);
      }
      best = this.#searchLabels(this.#byPodLabel, peer.labels, undefined, query, namedPorts, best);
      best = this.#searchLabels(
        this.#byNamespaceLabel,
        peer.namespaceLabels,
        peer.namespace,
        query,
        namedPorts,
        best,
      );
    }
    if (this.#blocks.length > 0) best = this.#searchBlocks(query, namedPorts, best);
    return best?.rule;
  }

  #add(entry: Entry, peer: CompiledPeer, demand: ReadonlyMap<string, number>): void {
    switch (peer.kind) {
      case 'never':
        return;
      case 'block':
        return this.#addBlock(entry, peer.cidr);
      case 'pods': {
        const pod = rarestDemand(peer.podSelector, demand);
        if (pod !== undefined) return addDemand(this.#byPodLabel, pod, entry);
        const namespace = rarestDemand(peer.namespaceSelector, demand);
        if (namespace !== undefined) return addDemand(this.#byNamespaceLabel, namespace, entry);
        append(this.#otherPods, peer.namespace, entry);
      }
    }
  }

  #addBlock(entry: Entry, { family, mask, network }: Cidr): void {
    let tier = this.#blocks.find(
      (one) => one.family === family && one.mask.every((word, i) => word === mask[i]),
    );
    if (tier === undefined) this.#blocks.push((tier = { family, mask, networks: new Map() }));
    append(tier.networks, networkHash(network, mask), entry);
  }

  #searchLabels(
    table: ByLabel,
    labels: Labels,
    namespace: string | undefined,
    query: PolicyQuery,
    namedPorts: readonly NamedPort[] | undefined,
    best: Entry | undefined,
  ): Entry | undefined {
    let found = best;
    for (const [key, values] of table) {
      const value = labelOf(labels, key, namespace);
      const entries = value === undefined ? undefined : values.get(value);
      if (entries !== undefined) found = this.#search(entries, query, namedPorts, undefined, found);
    }
    return found;
  }

  #searchBlocks(
    query: PolicyQuery,
    namedPorts: readonly NamedPort[] | undefined,
    best: Entry | undefined,
  ): Entry | undefined {
    const address = parseAddress(query.peer.address);
    if (address === undefined) return best;
    let found = best;
    for (const { family, mask, networks } of this.#blocks) {
      const entries = family === address.family ? networks.get(networkHash(address.words, mask)) : undefined;
      if (entries !== undefined) found = this.#search(entries, query, namedPorts, address, found);
    }
    return found;
  }

  #search(
    entries: readonly Entry[],
    query: PolicyQuery,
    namedPorts: readonly NamedPort[] | undefined,
    address: IpAddress | undefined,
    best: Entry | undefined,
  ): Entry | undefined {
    for (let index = 0; index < entries.length; index++) {
      const entry = entries[index]!;
      if (best !== undefined && entry.order >= best.order) return best;
      if (
        portsInclude(entry.rule.ports, query.protocol, query.port, namedPorts) &&
        (entry.peer === undefined || matchPeer(entry.peer, this.#direction, query.peer, address) === 'yes')
      ) {
        return entry;
      }
    }
    return best;
  }
}

interface Demand {
  readonly key: string;
  readonly values: ReadonlySet<string>;
}

// How many entries ask for a label with a value: the one that fewest ask for sorts best.
function countDemands(rules: readonly CompiledRule[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const rule of rules) {
    for (const peer of rule.peers ?? []) {
      if (peer.kind !== 'pods') continue;
      for (const { requirements } of [peer.podSelector, peer.namespaceSelector]) {
        for (const { key, operator, values } of requirements) {
          if (operator !== 'In') continue;
          for (const value of values) {
            const pair = `${key}=${value}`;
            counts.set(pair, (counts.get(pair) ?? 0) + 1);
          }
        }
      }
    }
  }
  return counts;
}

function rarestDemand(selector: CompiledSelector, counts: ReadonlyMap<string, number>): Demand | undefined {
  let rarest: Demand | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const requirement of selector.requirements) {
    if (requirement.operator !== 'In') continue;
    let count = 0;
    for (const value of requirement.values) count += counts.get(`${requirement.key}=${value}`) ?? 0;
    if (count < least) [rarest, least] = [requirement, count];
  }
  return rarest;
}

function addDemand(table: ByLabel, { key, values }: Demand, entry: Entry): void {
  let byValue = table.get(key);
  if (byValue === undefined) table.set(key, (byValue = new Map()));
  for (const value of values) append(byValue, value, entry);
}

function append<K>(lists: Map<K, Entry[]>, key: K, entry: Entry): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [entry]);
  else list.push(entry);
}

// Only a way to find candidates: whether the block contains the address is decided by comparing all of it.
function networkHash(words: Cidr['network'], mask: Cidr['mask']): number {
  let hash = 0;
  for (let index = 0 as 0 | 1 | 2 | 3; ; index++) {
    hash = (Math.imul(hash, 31) + (words[index] & mask[index])) | 0;
    if (index === 3) return hash;
  }
}
