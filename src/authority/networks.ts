import { formatAddress, type IpAddress } from '../lib/address.ts';
import { parseCidr } from '../lib/cidr.ts';
import type { NodeObject, ServiceCidrObject } from '../sources/objects-node.ts';

/** The blocks of the pod network and of Services, with neighbours merged: a sidecar must not hold one per node. */
export function networksOf(
  nodes: Iterable<NodeObject>,
  serviceCidrs: Iterable<ServiceCidrObject>,
): { pods: string[]; services: string[] } {
  return {
    pods: mergeBlocks([...nodes].flatMap(({ podCidrs }) => podCidrs)),
    services: mergeBlocks([...serviceCidrs].flatMap(({ cidrs }) => cidrs)),
  };
}

/** The fewest blocks that hold the same addresses, sorted. Texts that are no block are left out. */
export function mergeBlocks(texts: readonly string[]): string[] {
  // By prefix length, the longest first: two halves make their whole, which may be half of another one.
  const byPrefix = new Map<number, Set<bigint>>();
  for (const text of texts) {
    const cidr = parseCidr(text);
    if (cidr === undefined) continue;
    const prefix = cidr.family === 4 ? cidr.prefix + 96 : cidr.prefix;
    const blocks = byPrefix.get(prefix) ?? new Set();
    byPrefix.set(prefix, blocks.add(numberOf(cidr.network, cidr.family)));
  }
  const merged: { prefix: number; network: bigint }[] = [];
  for (let prefix = 128; prefix >= 0; prefix--) {
    const size = 1n << BigInt(128 - prefix);
    for (const network of byPrefix.get(prefix) ?? []) {
      const twin = network ^ size;
      if (prefix > 0 && byPrefix.get(prefix)!.has(twin)) {
        const parents = byPrefix.get(prefix - 1) ?? new Set();
        byPrefix.set(prefix - 1, parents.add(network & ~size));
      } else merged.push({ prefix, network });
    }
  }
  const inside = (inner: { prefix: number; network: bigint }): boolean =>
    merged.some(
      (outer) =>
        outer.prefix < inner.prefix &&
        inner.network >> BigInt(128 - outer.prefix) === outer.network >> BigInt(128 - outer.prefix),
    );
  return merged
    .filter((block) => !inside(block))
    .toSorted((a, b) => (a.network < b.network ? -1 : 1))
    .map(textOf);
}

/** IPv4 stands in ::ffff:0:0/96, so that one arithmetic serves both. */
const MAPPED = 0xffffn << 32n;

function numberOf(words: IpAddress['words'], family: 4 | 6): bigint {
  const [a, b, c, d] = words;
  const low = BigInt(d >>> 0);
  if (family === 4) return MAPPED | low;
  return (BigInt(a >>> 0) << 96n) | (BigInt(b >>> 0) << 64n) | (BigInt(c >>> 0) << 32n) | low;
}

function textOf({ prefix, network }: { prefix: number; network: bigint }): string {
  const words = [96n, 64n, 32n, 0n].map((shift) => Number((network >> shift) & 0xffffffffn));
  const family = network >> 32n === 0xffffn && prefix >= 96 ? 4 : 6;
  const address = formatAddress({ family, words: words as unknown as IpAddress['words'] });
  return `${address}/${family === 4 ? prefix - 96 : prefix}`;
}
