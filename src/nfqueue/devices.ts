import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { canonicalAddress } from '../lib/address.ts';

/**
 * Numbers of the interfaces of this network namespace, by the addresses that they have. What comes for such an address comes by that interface, but for odd
 * routes; of an interface whose number is not told (sysfs is not mounted) nothing is said.
 */
export function devicesByAddress(): ReadonlyMap<string, number> {
  const devices = new Map<string, number>();
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    const number = numberOf(name);
    if (number === undefined) continue;
    for (const { address } of addresses ?? []) {
      const canonical = canonicalAddress(address.replace(/%.*$/, ''));
      if (canonical !== undefined) devices.set(canonical, number);
    }
  }
  return devices;
}

function numberOf(name: string): number | undefined {
  try {
    const number = Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));
    return Number.isInteger(number) && number > 0 ? number : undefined;
  } catch {
    return undefined;
  }
}
