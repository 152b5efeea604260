import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { defaultGateways4, defaultGateways6 } from '../lib/route-table.ts';

/** Where the default routes of this network namespace lead; nothing where there are none, or /proc does not say. */
export function readOwnGateways(): string[] {
  return [
    ...defaultGateways4(read('/proc/self/net/route'), endianness()),
    ...defaultGateways6(read('/proc/self/net/ipv6_route')),
  ];
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
