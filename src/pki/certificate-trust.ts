import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { UserError } from '../errors.ts';
import type { TokenRefusal } from '../handshake/credentials.ts';
import { CLOCK_SKEW } from '../identity/claims.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';
import type { Revocations } from '../identity/revocations.ts';
import { Explanations, type Trust } from '../identity/trust-in-force.ts';
import type { ProvenIdentity, Verification } from '../identity/verify.ts';
import { type Certificate, readCertificate } from './certificate.ts';
import { decodeChain } from './chain-form.ts';
import { pemBlocks } from './pem.ts';
import { podNameOf } from './pod-name.ts';
import { authorityFault, leafFault, rootOf } from './verify-chain.ts';

/** Most roots of a domain: each is one more MAC for a Hello that has none of them. */
const MOST_ROOTS = 16;
const REMEMBERED = 4096;

/** An authority that is believed because the operator says so. */
export interface Root {
  /** SHA-256 of its public key, base64url: the same for a certificate that was renewed with its key. */
  readonly keyId: string;
  readonly certificate: Certificate;
}

/** Reads the roots that are believed: PEM, 1 to 16 certificates. Throws a `UserError` that names the file, which certificate, and what is wrong. */
export function parseRoots(text: string, file: string): readonly Root[] {
  const blocks = pemBlocks(text);
  if (blocks.length === 0)
    throw new UserError(`${file}: holds no certificate in PEM: it has to hold the roots to believe`);
  if (blocks.length > MOST_ROOTS)
    throw new UserError(`${file}: holds ${blocks.length} certificates; ${MOST_ROOTS} is the most`);
  return blocks.map(({ label, der }, index) => {
    const bad = (what: string) => new UserError(`${file}: certificate ${index + 1}: ${what}`);
    if (label !== 'CERTIFICATE') throw bad(`it is a ${label}: certificates alone belong here`);
    const certificate = readCertificate(der);
    if (typeof certificate === 'string') throw bad(certificate);
    const fault = authorityFault(certificate, 0);
    if (fault !== undefined)
      throw bad(`${fault}; a root needs basicConstraints CA:TRUE and keyUsage keyCertSign`);
    const key = certificate.publicKey.export({ format: 'der', type: 'spki' });
    return { keyId: createHash('sha256').update(key).digest('base64url'), certificate };
  });
}

/**
 * Trust in pods whose certificates rest on the roots of a trust domain. A chain that was verified is remembered by its exact bytes; its times are looked
 * at every time. Never throws, whatever the bytes.
 */
export class CertificateTrust implements Trust {
  readonly admissionKeys: readonly Uint8Array[];
  readonly #trustDomain: string;
  readonly #roots: readonly Root[];
  readonly #revocations: Revocations | undefined;
  readonly #admission: ReadonlyMap<string, Uint8Array>;
  readonly #explanations = new Explanations();
  readonly #verified = new LRUCache<string, ProvenIdentity>({
    maxSize: REMEMBERED,
    sizeCalculation: () => 1,
    dispose: (identity, form) => {
      const name = nameOf(identity);
      if (this.#formOf.get(name) === form) this.#formOf.delete(name);
    },
  });
  /** The bytes under which each certificate is remembered. One: an ECDSA signature has a twin, and its holder must not fill the memory with both. */
  readonly #formOf = new Map<string, string>();

  constructor(trustDomain: string, roots: readonly Root[], revocations?: Revocations) {
    this.#trustDomain = trustDomain;
    this.#roots = roots;
    this.#revocations = revocations;
    this.#admission = new Map(
      roots.map(({ keyId }) => [
        keyId,
        createHash('sha256').update('countersign/1 admission').update(keyId).digest(),
      ]),
    );
    this.admissionKeys = [...this.#admission.values()];
  }

  get roots(): readonly Root[] {
    return this.#roots;
  }

  /** How many chains are remembered. */
  get remembered(): number {
    return this.#verified.size;
  }

  admissionKey(issuerKeyId: string): Uint8Array | undefined {
    return this.#admission.get(issuerKeyId);
  }

  verify(token: Uint8Array, now: number): Verification {
    const form = Buffer.from(token.buffer, token.byteOffset, token.byteLength).toString('latin1');
    const known = this.#verified.get(form);
    const checked = known === undefined ? this.#check(token) : { identity: known };
    if ('refusal' in checked) return checked;
    const { identity } = checked;
    if (now >= identity.expiresAt)
      return refuse('token-expired', `its chain ended at ${when(identity.expiresAt)}`);
    if (now + CLOCK_SKEW < identity.notBefore) {
      return refuse('token-not-yet-valid', `its chain begins at ${when(identity.notBefore)}`);
    }
    if (known === undefined) this.#remember(form, identity);
    const revoked = this.#revocations?.markOver(identity.podUid, identity.issuedAt);
    if (revoked === undefined) return checked;
    return refuse('token-expired', `revoked: the pod's certificates from before ${when(revoked)} are dead`);
  }

  explainUnadmitted(token: Uint8Array, now: number): TokenRefusal {
    return this.#explanations.of(now, () => this.verify(token, now));
  }

  #remember(form: string, identity: ProvenIdentity): void {
    const name = nameOf(identity);
    const other = this.#formOf.get(name);
    this.#verified.set(form, identity);
    this.#formOf.set(name, form);
    if (other !== undefined && other !== form) this.#verified.delete(other);
  }

  #check(token: Uint8Array): Verification {
    const ders = decodeChain(token);
    if (ders === undefined) return refuse('token-malformed', 'no certificate chain');
    const chain: Certificate[] = [];
    for (const der of ders) {
      const certificate = readCertificate(der);
      if (typeof certificate === 'string')
        return refuse('token-malformed', `certificate ${chain.length + 1}: ${certificate}`);
      chain.push(certificate);
    }
    const [leaf] = chain as [Certificate];
    const fault = leafFault(leaf);
    if (fault !== undefined) return refuse('token-untrusted', `the certificate: ${fault}`);
    const name = podNameOf(leaf);
    if (typeof name === 'string') return refuse('token-malformed', `the certificate: ${name}`);
    if (name.trustDomain !== this.#trustDomain) {
      return refuse('foreign-domain', `of ${name.trustDomain}, accepted here is ${this.#trustDomain}`);
    }
    const root = rootOf(chain, this.#roots);
    if (typeof root === 'string') return refuse('token-untrusted', root);
    const whole = [...chain, root.certificate];
    const { publicKey } = leaf;
    const { x, y } = publicKey.export({ format: 'jwk' });
    return {
      identity: {
        ...name,
        labels: {},
        namespaceLabels: {},
        namesOnly: { serviceAccount: name.serviceAccount },
        issuedAt: leaf.notBefore,
        notBefore: Math.max(...whole.map((one) => one.notBefore)),
        expiresAt: Math.min(...whole.map((one) => one.notAfter)),
        tokenId: leaf.serial.slice(0, 64),
        key: { x: x!, y: y! },
        publicKey: NODE_CURVES.verifyingKeyOf(publicKey),
        issuerKeyId: root.keyId,
      },
    };
  }
}

function nameOf({ podUid, tokenId, issuerKeyId }: ProvenIdentity): string {
  return `${podUid} ${issuerKeyId} ${tokenId}`;
}

function refuse(reason: TokenRefusal['reason'], detail: string): { refusal: TokenRefusal } {
  return { refusal: { reason, detail } };
}

function when(seconds: number): string {
  return new Date(Math.max(0, Math.min(seconds, 253_402_300_799)) * 1000).toISOString();
}
