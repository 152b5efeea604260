import type { OwnCredentials, TokenRefusal } from '../handshake/credentials.ts';
import { messageOf } from '../errors.ts';
import type { IdentityState } from './identity-state.ts';
import type { Verification } from './verify.ts';

/**
 * Holds the identity in force and replaces it whole. What cannot replace it is a problem and changes nothing: the old one serves until
 * its end, and nothing is used past that.
 */
export class IdentityKeeper {
  #state: IdentityState | undefined;
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

  replace(make: () => IdentityState): void {
    try {
      this.#state = make();
      this.#problem = undefined;
    } catch (error) {
      this.fail(messageOf(error));
      return;
    }
    for (const listener of this.#listeners) listener();
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
    return this.#state?.admissionKeys() ?? [];
  }

  verify(token: Uint8Array): Verification {
    return this.#state?.verify(token, now()) ?? { refusal: NOTHING_TRUSTED };
  }

  explainUnadmitted(token: Uint8Array): TokenRefusal {
    return this.#state?.explainUnadmitted(token, now()) ?? NOTHING_TRUSTED;
  }
}

const NOTHING_TRUSTED: TokenRefusal = {
  reason: 'token-untrusted',
  detail: 'no trust bundle has been read yet',
};

function now(): number {
  return Date.now() / 1000;
}
