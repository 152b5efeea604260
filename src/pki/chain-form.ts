import { MAX_WIRE_BYTES } from '../identity/compact.ts';

/**
 * The form in which a certificate chain goes over the wire, where a token goes otherwise:
 *
 *     version = 2 (1) ‖ number of certificates (1) ‖ for each, the pod's own first: length (2) ‖ DER
 *
 * Each certificate is signed by the key of the next one, the last one by a root that both sides have; no root is in it.
 */
const VERSION = 2;

/** The pod's own certificate and three authorities. */
export const MOST_CERTIFICATES = 4;

/** @param certificates DER. Throws a `RangeError` for what does not go over the wire. */
export function encodeChain(certificates: readonly Uint8Array[]): Uint8Array {
  if (certificates.length === 0 || certificates.length > MOST_CERTIFICATES) {
    throw new RangeError(
      `${certificates.length} certificates without the root; 1 to ${MOST_CERTIFICATES} are taken`,
    );
  }
  const parts = certificates.flatMap((der) => [Buffer.of(der.length >> 8, der.length & 0xff), der]);
  const wire = Uint8Array.from(Buffer.concat([Buffer.of(VERSION, certificates.length), ...parts]));
  if (wire.length > MAX_WIRE_BYTES) {
    throw new RangeError(
      `certificates of ${wire.length} bytes; ${MAX_WIRE_BYTES} is the most that goes over the wire`,
    );
  }
  return wire;
}

/** Takes a chain apart; undefined for any bytes that are none, whoever sent them. */
export function decodeChain(wire: Uint8Array): readonly Uint8Array[] | undefined {
  const count = wire[1] ?? 0;
  if (wire.length > MAX_WIRE_BYTES || wire[0] !== VERSION || count < 1 || count > MOST_CERTIFICATES)
    return undefined;
  const certificates: Uint8Array[] = [];
  let at = 2;
  for (let index = 0; index < count; index++) {
    const length = ((wire[at] ?? 0) << 8) | (wire[at + 1] ?? 0);
    const end = at + 2 + length;
    if (length === 0 || end > wire.length) return undefined;
    certificates.push(wire.subarray(at + 2, end));
    at = end;
  }
  return at === wire.length ? certificates : undefined;
}
