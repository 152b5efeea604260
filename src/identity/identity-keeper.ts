import type { OwnCredentials, TokenRefusal } from '../handshake/credentials.ts';
import { messageOf } from '../errors.ts';
import type { IdentityState } from './identity-state.ts';
import { Revocations } from './revocations.ts';
import type { Trust } from './trust-in-force.ts';
import type { ProvenIdentity, Verification } from './verify.ts';

/**
 * Holds what is in force: the own identity, and the trust in others. What cannot replace the own identity is a problem and changes nothing: the
 * old one serves until its end, and nothing is used past that. Trust counts at once, also when the own token does not fit it: who takes a
 * key out of the bundle does not want it believed until the next renewal.
 */
export class IdentityKeeper {
  /** Marks last longer than the trust bundle that was in force when they came. */
  protected readonly revocations = new Revocations();
  #state: IdentityState | undefined;
  #trust: Trust | undefined;
  #problem: string | undefined = 'no identity has been read yet';
  readonly #listeners = new Set<() => void>();

  get state(): IdentityState | undefined {
    return this.#state;
  }

  /** What is wrong at the moment, for people. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Seconds since the epoch. */
  get expiresAt(): number | undefined {
    return this.#state?.own.expiresAt;
  }

  /** Calls after every change of the identity or of the trust in others. */
  subscribe(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Puts trust in force, if there is new one, and the identity that `make` gives, if it does not throw. */
  replace(make: () => IdentityState, trust?: Trust): void {
    if (trust !== undefined) this.#trust = trust;
    try {
      this.#state = make();
      this.#problem = undefined;
    } catch (error) {
      this.fail(messageOf(error));
      if (trust === undefined || this.#state === undefined) return;
    }
    this.#tell();
  }

  /**
   * Kills the tokens of a pod that were issued before then, whatever their end.
   * @param issuedAt seconds since the epoch
   */
  revokeBefore(podUid: string, issuedAt: number): void {
    this.revocations.revokeBefore(podUid, issuedAt, now());
    this.#tell();
  }

  fail(problem: string): void {
    this.#problem = problem;
  }

  credentials(): OwnCredentials | undefined {
    return this.#state?.credentials(now());
  }

  ownAdmissionKey(): Uint8Array | undefined {
    return this.#state?.ownAdmissionKey();
  }

  admissionKeys(): readonly Uint8Array[] {
    return this.#trust?.admissionKeys ?? [];
  }

  verify(token: Uint8Array): Verification {
    return this.#trust?.verify(token, now()) ?? { refusal: NOTHING_TRUSTED };
  }

  /** Whether an identity that was verified earlier would be again, but for its end: its issuer's key is trusted, and no mark is over it. */
  stillHolds({
    issuerKeyId,
    podUid,
    issuedAt,
  }: Pick<ProvenIdentity, 'issuerKeyId' | 'podUid' | 'issuedAt'>): boolean {
    return (
      this.#trust?.admissionKey(issuerKeyId) !== undefined &&
      this.revocations.markOver(podUid, issuedAt) === undefined
    );
  }

  explainUnadmitted(token: Uint8Array): TokenRefusal {
    return this.#trust?.explainUnadmitted(token, now()) ?? NOTHING_TRUSTED;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

const NOTHING_TRUSTED: TokenRefusal = {
  reason: 'token-untrusted',
  detail: 'no trust bundle has been read yet',
};

function now(): number {
  return Date.now() / 1000;
}
