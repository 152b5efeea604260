import type { Party } from '../policy/judge.ts';
import { type AddressRegion, addressRegions } from './address-regions.ts';
import { Likeness } from './alike.ts';
import { allPolicies, type Mentions, mentionsOf } from './mentions.ts';
import { Ends } from '../workloads/ends.ts';
import type { Inventory } from '../workloads/inventory.ts';
import type { Workload } from '../workloads/workload.ts';

/** Ends that no policy of any of the inventories tells apart, or an address region. */
export interface EndGroup {
  /** `shop/web-1`, `shop/web-1 (+2 alike)`, `10.0.0.0/8 (as 10.0.0.1)`. */
  readonly name: string;
  readonly members: readonly string[];
  readonly isAddress: boolean;
  /** For each inventory one end of the group, undefined where there is none; */
  readonly parties: readonly (Party | undefined)[];
  /** and another one, for calls within the group. */
  readonly others: readonly (Party | undefined)[];
}

/**
 * The ends of one or several states of a cluster, grouped. A workload's template is left out where its pods are there; finished
 * pods are left out.
 */
export function endGroups(
  inventories: readonly Inventory[],
  options: {
    /** Address regions too. */
    readonly regions: boolean;
    /** What else keeps ends apart. */
    readonly apart?: (party: Party) => string;
  },
): EndGroup[] {
  const mentions = mentionsOf(allPolicies(inventories));
  const likeness = new Likeness(mentions);
  const ends = inventories.map((inventory) => new Ends(inventory));
  const names = new Map<string, (Party | undefined)[]>();
  for (const [index, inventory] of inventories.entries()) {
    for (const workload of standing(inventory.workloads)) {
      const name = `${workload.namespace}/${workload.name}`;
      let parties = names.get(name);
      if (parties === undefined) names.set(name, (parties = inventories.map(() => undefined)));
      parties[index] = ends[index]!.of(workload);
    }
  }
  const byKey = new Map<string, { name: string; parties: (Party | undefined)[] }[]>();
  for (const [name, parties] of names) {
    const key = JSON.stringify(
      parties.map((party) => [likeness.key(party), party === undefined ? '' : options.apart?.(party)]),
    );
    const group = byKey.get(key);
    if (group === undefined) byKey.set(key, [{ name, parties }]);
    else group.push({ name, parties });
  }
  const groups = [...byKey.values()].map((members): EndGroup => {
    const [first, second] = members;
    return {
      name: members.length === 1 ? first!.name : `${first!.name} (+${members.length - 1} alike)`,
      members: members.map((one) => one.name),
      isAddress: false,
      parties: first!.parties,
      others: second?.parties ?? inventories.map(() => undefined),
    };
  });
  return options.regions ? [...groups, ...regionGroups(mentions, ends)] : groups;
}

function regionGroups(mentions: Mentions, ends: readonly Ends[]): EndGroup[] {
  const taken = (address: string): boolean =>
    ends.some((one) => {
      const owner = one.address(address);
      return owner?.kind === 'pod' || owner?.node !== undefined;
    });
  return addressRegions(mentions, taken).map((region) => addressGroup(region, ends));
}

/** The group that an address alone is. */
export function addressGroup({ name, address }: AddressRegion, ends: readonly Ends[]): EndGroup {
  return {
    name: name === address ? name : `${name} (as ${address})`,
    members: [address],
    isAddress: true,
    parties: ends.map((one) => one.address(address)),
    others: ends.map(() => undefined),
  };
}

/** What runs, each thing once. */
export function standing(workloads: readonly Workload[]): Workload[] {
  const pods = workloads.filter((one) => !one.isTemplate && one.owned && !one.finished);
  return workloads.filter((one) => {
    if (one.finished) return false;
    if (!one.isTemplate) return true;
    // Made by something that is (or was) there itself, such as the ReplicaSet of a Deployment.
    if (one.owned) return false;
    return !pods.some((pod) => pod.namespace === one.namespace && isMadeFrom(pod, one));
  });
}

function isMadeFrom(pod: Workload, template: Workload): boolean {
  const labels = Object.entries(template.labels);
  return labels.length > 0 && labels.every(([key, value]) => pod.labels[key] === value);
}
