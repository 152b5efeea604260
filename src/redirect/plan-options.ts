import { UserError } from '../errors.ts';
import { formatAddress } from '../lib/address.ts';
import { type Cidr, parseCidr } from '../lib/cidr.ts';
import {
  INBOUND_FILTER_PROBE_PORT,
  INBOUND_PORT,
  OUTBOUND_FILTER_PROBE_PORT,
  OUTBOUND_PORT,
  REDIRECT_PROBE_PORT,
} from './ports.ts';

/** What the rules of a pod depend on. */
export interface RedirectOptions {
  /** The user that the proxy runs as: its own connections are not redirected. */
  readonly proxyUid: number;
  /** TCP ports of this pod that stay as they were: neither redirected nor filtered. */
  readonly excludeInboundPorts: readonly number[];
  /** Destination ports, and destination networks, of calls that stay as they were. */
  readonly excludeOutboundPorts: readonly number[];
  readonly excludeOutboundCidrs: readonly string[];
  /** The proxy dials the application from the client's address: what the application answers comes back to the proxy. */
  readonly keepSource?: boolean;
}

/** Refused by whoever reads the flags. */
export const KEEP_SOURCE_IN_QUEUES =
  "--keep-source-address belongs to --mode redirect: in mode nfqueue packets keep their addresses, and only a peer that speaks the stream preamble is seen as this pod's";

/** So many exclusions that nobody wrote them by hand are a mistake; each costs a comparison per packet. */
const MOST_EXCLUSIONS = 256;

/** Ports whose exclusion would open the proxy itself, or make its tests lie. */
const OWN_PORTS: readonly number[] = [
  OUTBOUND_PORT,
  INBOUND_PORT,
  REDIRECT_PROBE_PORT,
  INBOUND_FILTER_PROBE_PORT,
  OUTBOUND_FILTER_PROBE_PORT,
];

/**
 * Refuses options that would make rules which do something else than they say.
 * @throws UserError that names the value and what to write
 */
export function checkOptions(options: RedirectOptions): void {
  const { proxyUid, excludeInboundPorts, excludeOutboundPorts, excludeOutboundCidrs } = options;
  if (!Number.isInteger(proxyUid) || proxyUid < 1 || proxyUid > 0xffff_fffe) {
    throw new UserError(
      `--proxy-uid ${proxyUid}: has to be the number of a user, and not root: whose connections would all pass unproven`,
    );
  }
  for (const [flag, values] of [
    ['--exclude-inbound-ports', excludeInboundPorts],
    ['--exclude-outbound-ports', excludeOutboundPorts],
    ['--exclude-outbound-cidrs', excludeOutboundCidrs],
  ] as const) {
    if (values.length > MOST_EXCLUSIONS) throw new UserError(`${flag}: at most ${MOST_EXCLUSIONS}`);
    for (const value of values) {
      if (typeof value === 'string' ? parseCidr(value) === undefined : !isPort(value)) {
        throw new UserError(
          typeof value === 'string'
            ? `${flag}: ${value} is no network: write 10.0.0.0/8`
            : `${flag}: ${value} is no port`,
        );
      }
    }
  }
  const own = excludeInboundPorts.find((port) => OWN_PORTS.includes(port));
  if (own !== undefined) {
    throw new UserError(
      `--exclude-inbound-ports: ${own} is the proxy's own, which nobody may reach directly`,
    );
  }
}

/** A network in the one form in which it is written in rules: the bits behind the prefix are zero. */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress({ family: cidr.family, words: cidr.network })}/${cidr.prefix}`;
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65_535;
}
