import { deflateRawSync } from 'node:zlib';
import { Inflater } from './inflate.ts';

/**
 * The form in which a token goes over the wire: the same JWT, losslessly, at about half the bytes.
 *
 *     version (1) ‖ length of the signature (1) ‖ signature ‖ DEFLATE(header, a line feed, payload)
 *
 * DEFLATE (RFC 1951) with the dictionary below, which both sides know. What is signed stays the text of RFC 7515.
 */
const VERSION = 1;

/** Longest token on the wire (docs/protocol.md section 2). */
export const MAX_WIRE_BYTES = 4096;
const MAX_TEXT_BYTES = 8192;

/** What nearly every token contains; the most frequent at the end, where DEFLATE reaches it cheapest. Changing it is a new version. */
const DICTIONARY = Buffer.from(
  [
    'topology.kubernetes.io/zone',
    'statefulset.kubernetes.io/pod-name',
    'apps.kubernetes.io/pod-index',
    'batch.kubernetes.io/job-name',
    'pod-security.kubernetes.io/enforce',
    'controller-revision-hash',
    'pod-template-generation',
    'app.kubernetes.io/managed-by":"Helm","helm.sh/chart":"',
    'environment":"production","staging","team":"platform","tier":"backend","frontend","version":"v1',
    'app.kubernetes.io/part-of":"',
    'app.kubernetes.io/component":"',
    'app.kubernetes.io/version":"',
    'app.kubernetes.io/instance":"',
    'app.kubernetes.io/name":"',
    'pod-template-hash":"',
    'countersign.io/inject":"true","',
    'default","kube-system',
    '{"alg":"HS256","typ":"countersign+jwt","kid":"',
    '{"alg":"ES256","typ":"countersign+jwt","kid":"',
    '"}\n{"iss":"spiffe://cluster.local","sub":"spiffe://cluster.local/ns/default/sa/default","aud":"countersign/1","iat":17',
    ',"nbf":17',
    ',"exp":17',
    ',"jti":"',
    '","pod":{"name":"',
    '","uid":"',
    '","labels":{"app":"',
    '"},"ns_labels":{"kubernetes.io/metadata.name":"',
    '"}},"cnf":{"jwk":{"kty":"EC","crv":"P-256","x":"',
    '","y":"',
    '"}}}',
  ].join(''),
);

/**
 * The compact form of a JWT in its usual one (RFC 7515 section 3.1). Throws a `TypeError` on what is no JWT, and on one that would not come
 * out of its compact form as it went in or be longer than the wire allows.
 */
export function toCompact(jwt: string): Uint8Array {
  const [header, payload, signature, ...more] = jwt.split('.');
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    throw new TypeError('a token has three parts');
  }
  const [head, body, raw] = [fromBase64url(header), fromBase64url(payload), fromBase64url(signature)];
  if (head.includes(0x0a) || raw.length > 255) throw new TypeError('a token that has no compact form');
  const text = Buffer.concat([head, Buffer.from('\n'), body]);
  if (text.length > MAX_TEXT_BYTES) throw new TypeError(`a token of more than ${MAX_TEXT_BYTES} bytes`);
  const deflated = deflateRawSync(text, { dictionary: DICTIONARY, level: 9 });
  const wire = Uint8Array.from(Buffer.concat([Buffer.of(VERSION, raw.length), raw, deflated]));
  if (wire.length > MAX_WIRE_BYTES) {
    throw new TypeError(`a token of ${wire.length} bytes on the wire; ${MAX_WIRE_BYTES} is the most`);
  }
  if (fromCompact(wire) === undefined) throw new TypeError('a token that has no compact form');
  return wire;
}

/** Strict, unlike `Buffer.from`: no other alphabet, no padding, no stray bits in the last character (RFC 4648 section 3.5). */
function fromBase64url(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') !== text) throw new TypeError('a part of the token is no base64url');
  return bytes;
}

/** A token taken apart. `signed` is what the signature is over (RFC 7515 section 5.1). */
export interface TokenParts {
  readonly header: string;
  readonly payload: string;
  readonly signature: Uint8Array;
  readonly signed: Uint8Array;
}

/** Takes the compact form apart; undefined for anything that is none. Bounded before it is inflated. */
export function fromCompact(bytes: Uint8Array): TokenParts | undefined {
  const length = bytes[1] ?? 0;
  if (bytes[0] !== VERSION || bytes.length <= 2 + length || bytes.length > MAX_WIRE_BYTES) return undefined;
  const inflated = INFLATER.inflate(bytes.subarray(2 + length));
  const end = inflated?.indexOf(LINE_FEED) ?? -1;
  if (inflated === undefined || end < 0) return undefined;
  const [head, body] = [inflated.subarray(0, end), inflated.subarray(end + 1)];
  try {
    return {
      header: UTF8.decode(head),
      payload: UTF8.decode(body),
      signature: bytes.subarray(2, 2 + length),
      signed: Buffer.from(`${toBase64url(head)}.${toBase64url(body)}`, 'latin1'),
    };
  } catch {
    return undefined; // no UTF-8
  }
}

const INFLATER = new Inflater(DICTIONARY, MAX_TEXT_BYTES);
const LINE_FEED = 0x0a;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function toBase64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}
