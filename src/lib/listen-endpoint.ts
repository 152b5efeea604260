import { UserError } from '../errors.ts';
import { canonicalAddress, type Endpoint } from './address.ts';

/**
 * Where to listen, as a flag says it: `0.0.0.0:14020`, `[::]:14020`. Port 0 is any free one.
 * @throws UserError that names the flag and shows how to write it
 */
export function listenEndpoint(flag: string, value: string): Endpoint {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(value);
  const address = canonicalAddress(match?.[1] ?? match?.[2] ?? '');
  const port = Number(match?.[3]);
  if (address === undefined || port > 65_535) {
    throw new UserError(`${flag} ${value}: write ADDRESS:PORT, for instance 0.0.0.0:14020 or [::]:14020`);
  }
  return { address, port };
}
