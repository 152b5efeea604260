import { UserError } from '../errors.ts';
import { parseCidr } from '../lib/cidr.ts';

/** What the rules of a pod depend on. */
export interface RedirectOptions {
  /** The user that the proxy runs as: its own connections are not redirected. */
  readonly proxyUid: number;
  /** TCP ports of this pod that stay as they were: neither redirected nor filtered. */
  readonly excludeInboundPorts: readonly number[];
  /** Destination ports, and destination networks, of calls that stay as they were. */
  readonly excludeOutboundPorts: readonly number[];
  readonly excludeOutboundCidrs: readonly string[];
}

/** Part of a connection's mark that says «opened by the proxy». The other bits belong to others. */
export const MARK = { value: 0x0c50_0000, mask: 0x0ff0_0000 } as const;

/** Changes whenever the rules' meaning does. */
export const RULES_VERSION = 1;

/** Refuses options that would make rules which do something else than they say. */
export function checkOptions(options: RedirectOptions): void {
  if (!Number.isInteger(options.proxyUid) || options.proxyUid < 1 || options.proxyUid > 0xffff_fffe) {
    throw new UserError(
      `--proxy-uid ${options.proxyUid}: has to be the number of a user, and not root: whose connections would all pass unproven`,
    );
  }
  for (const port of [...options.excludeInboundPorts, ...options.excludeOutboundPorts]) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new UserError(`${port} is no port`);
  }
  for (const cidr of options.excludeOutboundCidrs) {
    if (parseCidr(cidr) === undefined) throw new UserError(`${cidr} is no network: write 10.0.0.0/8`);
  }
}

/** The networks of one family. */
export function ofFamily(cidrs: readonly string[], family: 4 | 6): string[] {
  return cidrs.filter((cidr) => parseCidr(cidr)?.family === family);
}
