import { UserError } from '../errors.ts';
import type { Party } from '../policy/judge.ts';
import type { Protocol } from '../policy/model.ts';
import type { Ends } from '../workloads/ends.ts';
import type { Inventory } from '../workloads/inventory.ts';

const MOST_SUGGESTED = 5;

/**
 * Finds the end that somebody means: `shop/web-1`, `shop/deploy/web`, `10.0.0.1`, `ip:10.0.0.1`; without a namespace it is in
 * the one given.
 * @throws UserError naming the flag, and what there is
 */
export function findEnd(
  text: string,
  flag: string,
  ends: Ends,
  { workloads }: Inventory,
  namespace: string,
): Party {
  const address = ends.address(text.startsWith('ip:') ? text.slice(3) : text);
  if (address !== undefined) return address;
  if (text.startsWith('ip:')) throw new UserError(`${flag} ${text}: ${text.slice(3)} is no IP address`);
  const end = ends.named(text) ?? ends.named(`${namespace}/${text}`);
  if (end !== undefined) return end;
  const names = workloads.map((one) => `${one.namespace}/${one.name}`);
  const wanted = text.slice(text.lastIndexOf('/') + 1);
  const near = names.filter((name) => name.includes(wanted));
  const told = (near.length > 0 ? near : names).slice(0, MOST_SUGGESTED);
  const there =
    told.length === 0
      ? 'the manifests have no pod or workload'
      : `${near.length > 0 ? 'did you mean' : 'there are'} ${told.join(', ')}${names.length > told.length && near.length === 0 ? ', ...' : ''}`;
  throw new UserError(`${flag} ${text}: no pod, workload or IP address of that name; ${there}`);
}

/**
 * The port that somebody means by a number or a name; a name is looked up at the destination.
 * @param protocol undefined: TCP, or what the named port has
 * @throws UserError
 */
export function findPort(
  text: string,
  protocol: Protocol | undefined,
  to: Party,
): { readonly port: number; readonly protocol: Protocol } {
  if (/^\d+$/.test(text)) {
    const port = Number(text);
    if (port >= 1 && port <= 65_535) return { port, protocol: protocol ?? 'TCP' };
    throw new UserError(`--port ${text}: has to be from 1 to 65535`);
  }
  if (to.kind !== 'pod')
    throw new UserError(
      `--port ${text}: the destination is an address and has no named ports; give a number`,
    );
  const found = to.namedPorts.filter(
    (one) => one.name === text && (protocol === undefined || one.protocol === protocol),
  );
  const distinct = new Map(found.map((one) => [`${one.protocol} ${one.port}`, one]));
  const [first] = distinct.values();
  if (first !== undefined && distinct.size === 1) return { port: first.port, protocol: first.protocol };
  const names = [...new Set(to.namedPorts.map((one) => one.name))].join(', ');
  throw new UserError(
    first === undefined
      ? `--port ${text}: ${to.namespace}/${to.name} has no port of that name${names === '' ? '' : `; it has ${names}`}`
      : `--port ${text}: ${to.namespace}/${to.name} has ${[...distinct.keys()].join(' and ')} of that name; give a number`,
  );
}

/** @throws UserError */
export function parseProtocol(text: string | undefined): Protocol | undefined {
  if (text === undefined) return undefined;
  const upper = text.toUpperCase();
  if (upper === 'TCP' || upper === 'UDP' || upper === 'SCTP') return upper;
  throw new UserError(`--protocol ${text}: has to be TCP, UDP or SCTP`);
}

/** How an end is called in answers. */
export function endName(party: Party): string {
  if (party.kind === 'pod') return `${party.namespace}/${party.name}`;
  return party.address === '' ? 'unknown address' : party.address;
}
