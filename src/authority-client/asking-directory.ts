import { parseAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, parseCidr } from '../lib/cidr.ts';
import type { AddressOwner, Directory } from '../peers/directory.ts';

export interface AskingOptions {
  readonly answered: ReadonlySet<string>;
  /** The blocks of the cluster. */
  readonly networks: readonly string[];
  readonly ask: (address: string, inside: boolean) => void;
  /** Whether somebody is there to answer, now. */
  readonly connected: () => boolean;
}

/**
 * A directory of what was answered, which asks about the rest. An address is unknown until it was answered, wherever it lies: a Service may have one outside the
 * cluster's networks. With nobody there to answer, those outside count as what they certainly are not inside: external; that needs the networks to be known.
 */
export function askingDirectory(base: Directory, options: AskingOptions): Directory {
  const blocks = options.networks.flatMap((text) => parseCidr(text) ?? []);
  const { answered, ask, connected } = options;
  const look = (address: string): void => ask(address, isInside(blocks, address));
  return {
    ...base,
    owner(address): AddressOwner {
      const owner = base.owner(address);
      look(address);
      if (owner.kind === 'pod' || owner.kind === 'node' || answered.has(address)) return owner;
      if (connected() || !base.knowsPodNetwork) return { kind: 'unknown' };
      return owner;
    },
    service(address, port) {
      look(address);
      return base.service(address, port);
    },
  };
}

function isInside(blocks: readonly Cidr[], address: string): boolean {
  const parsed = parseAddress(address);
  return parsed !== undefined && blocks.some((cidr) => cidrContains(cidr, parsed));
}
