import { canonicalAddress } from '../lib/address.ts';
import type { AddressParty, Party, PodParty } from '../policy/judge.ts';
import type { Labels } from '../policy/model.ts';
import type { Inventory } from './inventory.ts';
import { workloadKind } from './object-kinds.ts';
import type { Workload } from './workload.ts';

/** DNS answers: name to addresses. */
export type Answers = Readonly<Record<string, readonly string[]>>;

/** Finds the ends of calls among the objects of an inventory. One of them is always the same object, so it can be a key. */
export class Ends {
  readonly #inventory: Inventory;
  readonly #byName = new Map<string, Workload>();
  readonly #byAddress = new Map<string, Workload>();
  readonly #nodeByAddress = new Map<string, string>();
  readonly #parties = new Map<Workload, Party>();
  readonly #atAddress = new Map<string, Party>();

  constructor(inventory: Inventory) {
    this.#inventory = inventory;
    for (const workload of inventory.workloads) {
      this.#byName.set(`${workload.namespace}/${workload.name}`, workload);
      if (workload.finished) continue;
      for (const address of workload.hostNetwork ? [] : workload.addresses) {
        // A pod that is going keeps its address to the end; where two claim one, who stays is the owner.
        const other = this.#byAddress.get(address);
        if (other === undefined || other.terminating) this.#byAddress.set(address, workload);
      }
      if (workload.hostNetwork && workload.node !== undefined) {
        for (const address of [...workload.addresses, ...workload.hostAddresses])
          this.#nodeByAddress.set(address, workload.node);
      }
      if (workload.node !== undefined)
        for (const address of workload.hostAddresses) this.#nodeByAddress.set(address, workload.node);
    }
    for (const node of inventory.nodes.values()) {
      for (const address of node.addresses) this.#nodeByAddress.set(address, node.name);
    }
  }

  /** `shop/web-1`, `shop/deploy/web`; undefined when there is nothing of that name. */
  named(text: string): Party | undefined {
    const exact = this.#byName.get(text);
    if (exact !== undefined) return this.of(exact);
    const parts = text.split('/');
    if (parts.length !== 3) return undefined;
    const kind = workloadKind(parts[1]!);
    if (kind === undefined) return undefined;
    const name = kind.kind === 'Pod' ? parts[2]! : `${kind.short}/${parts[2]!}`;
    const workload = this.#byName.get(`${parts[0]!}/${name}`);
    return workload === undefined ? undefined : this.of(workload);
  }

  /** Who has an address: a live pod, a node, or nobody that is known. Undefined when the text is no address. */
  address(text: string): Party | undefined {
    const known = this.#atAddress.get(text);
    if (known !== undefined) return known;
    const address = canonicalAddress(text);
    if (address === undefined) return undefined;
    const party = this.#owner(address);
    this.#atAddress.set(text, party);
    return party;
  }

  /** The end that a pod or template is. A finished pod and one in its node's network are no more than an address. */
  of(workload: Workload): Party {
    let party = this.#parties.get(workload);
    if (party === undefined) this.#parties.set(workload, (party = this.#make(workload)));
    return party;
  }

  #owner(address: string): Party {
    const workload = this.#byAddress.get(address);
    if (workload === undefined) return this.#external(address);
    const party = this.of(workload) as PodParty;
    return party.addresses[0] === address ? party : { ...party, addresses: [address] };
  }

  #external(address: string): AddressParty {
    const node = this.#nodeByAddress.get(address);
    return { kind: 'address', address, node, nodeLabels: this.#nodeLabels(node, address) };
  }

  #make(workload: Workload): Party {
    const { namespace, name, labels, fixedLabels, addresses, namedPorts, node } = workload;
    if (workload.finished) {
      const [address] = addresses;
      return address === undefined ? { kind: 'address', address: '' } : this.address(address)!;
    }
    const nodeAddresses = this.#nodeAddresses(workload);
    if (workload.hostNetwork) {
      const address = addresses[0] ?? nodeAddresses[0] ?? '';
      return { kind: 'address', address, node, nodeLabels: this.#nodeLabels(node, address) };
    }
    const namespaceLabels = this.namespaceLabels(namespace);
    return {
      kind: 'pod',
      namespace,
      name,
      labels,
      fixedLabels,
      namespaceLabels,
      addresses,
      namedPorts,
      node,
      nodeAddresses,
    };
  }

  /** The labels of a namespace. One whose object is not among the manifests has the label that all have, and no other. */
  namespaceLabels(namespace: string): Labels {
    return this.#inventory.namespaces.get(namespace)?.labels ?? {};
  }

  // Cluster policies name nodes by the addresses in their status.
  #nodeLabels(name: string | undefined, address: string): Labels | undefined {
    const node = name === undefined ? undefined : this.#inventory.nodes.get(name);
    return node?.addresses.includes(address) === true ? node.labels : undefined;
  }

  #nodeAddresses({ node, hostAddresses }: Workload): readonly string[] {
    const known = node === undefined ? undefined : this.#inventory.nodes.get(node)?.addresses;
    return known === undefined ? hostAddresses : [...new Set([...hostAddresses, ...known])];
  }
}
