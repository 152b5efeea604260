import type { TokenRefusal } from '../handshake/credentials.ts';
import type { Federation } from './federation.ts';
import type { Curves } from '../lib/curves.ts';
import type { Revocations } from './revocations.ts';
import { admissionKey, type TrustBundle } from './trust.ts';
import { TokenVerifier, type Verification } from './verify.ts';

/** How many Hellos a second may cost a signature only to tell their sender's fault exactly. */
const EXPLAINED_PER_SECOND = 50;

/** Who is believed: the seam between an identity's keeper and what proves identities here. Unchanging but for its caches. */
export interface Trust {
  /** Under which Hellos are admitted, of each issuer one. */
  readonly admissionKeys: readonly Uint8Array[];
  /** That of one issuer; undefined: it is not trusted. */
  admissionKey(issuerKeyId: string): Uint8Array | undefined;
  /** @param now seconds since the epoch */
  verify(token: Uint8Array, now: number): Verification;
  /** Why a Hello without a right admission MAC is refused: exactly, as long as few ask. */
  explainUnadmitted(token: Uint8Array, now: number): TokenRefusal;
  /** Other trust domains that are believed too, for what is said of them; left out: none. */
  readonly federation?: Federation | undefined;
}

/** Trust in issuer keys or a shared secret: a bundle with the judge and the admission keys made of it. */
export class TrustInForce implements Trust {
  readonly #bundle: TrustBundle;
  readonly admissionKeys: readonly Uint8Array[];
  readonly #verifier: TokenVerifier;
  readonly #explanations = new Explanations();
  /** By issuer: it is asked for with every judgement. */
  readonly #ownAdmission: ReadonlyMap<string, Uint8Array>;

  constructor(bundle: TrustBundle, revocations?: Revocations, curves?: Curves) {
    this.#bundle = bundle;
    this.#verifier = new TokenVerifier(bundle, revocations, curves);
    this.#ownAdmission = new Map([...bundle.keys.keys()].map((id) => [id, admissionKey(bundle, id)!]));
    const domains = [bundle, ...(bundle.federation?.values() ?? [])];
    this.admissionKeys = domains.flatMap(({ keys }) =>
      [...keys.keys()].map((id) => admissionKey({ algorithm: bundle.algorithm, keys }, id)!),
    );
  }

  get federation(): Federation | undefined {
    return this.#bundle.federation;
  }

  admissionKey(issuerKeyId: string): Uint8Array | undefined {
    return this.#ownAdmission.get(issuerKeyId);
  }

  verify(token: Uint8Array, now: number): Verification {
    return this.#verifier.verify(token, now);
  }

  explainUnadmitted(token: Uint8Array, now: number): TokenRefusal {
    return this.#explanations.of(now, () => this.#verifier.verify(token, now));
  }
}

/** Why Hellos are not admitted, bounded: looking closely costs a signature. */
export class Explanations {
  #explained = { second: 0, count: 0 };

  /** @param now seconds since the epoch */
  of(now: number, verify: () => Verification): TokenRefusal {
    const second = Math.floor(now);
    if (this.#explained.second !== second) this.#explained = { second, count: 0 };
    if (++this.#explained.count <= EXPLAINED_PER_SECOND) {
      const verified = verify();
      if ('refusal' in verified) return verified.refusal;
    }
    return {
      reason: 'token-untrusted',
      detail: 'the Hello was not made with an admission key of this trust domain',
    };
  }
}
