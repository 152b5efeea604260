import type { OwnCredentials, TokenRefusal } from '../handshake/credentials.ts';
import { messageOf } from '../errors.ts';
import type { Curves } from '../lib/curves.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';
import type { ForeignOwner } from '../peers/directory.ts';
import { domainAt, type Federation } from './federation.ts';
import { firstEnd, stillFederated } from './foreign-identity.ts';
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
  /** What verifies the tokens and signatures of others. */
  protected readonly curves: Curves;
  #state: IdentityState | undefined;
  #trust: Trust | undefined;
  #timer: NodeJS.Timeout | undefined;
  #problem: string | undefined = 'no identity has been read yet';
  readonly #listeners = new Set<() => void>();

  constructor(curves: Curves = NODE_CURVES) {
    this.curves = curves;
  }

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

  /** The clock was set: whatever was reckoned from the ends of identities is to be reckoned anew. */
  clockWasSet(): void {
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
    foreignDomain,
  }: Pick<ProvenIdentity, 'issuerKeyId' | 'podUid' | 'issuedAt' | 'foreignDomain'>): boolean {
    return (
      this.#believes(issuerKeyId, foreignDomain) && this.revocations.markOver(podUid, issuedAt) === undefined
    );
  }

  /** Who has an address that no pod, node or Service of this cluster has; undefined: nobody of another domain. Unknown until there is trust. */
  foreignOwner(address: string): ForeignOwner | undefined {
    if (this.#trust === undefined) return { kind: 'unknown' };
    const domain = domainAt(this.federation, address);
    return domain === undefined ? undefined : { kind: 'foreign', domain };
  }

  /** Other domains that are believed, by name. */
  get federation(): Federation {
    return this.#trust?.federation ?? NO_DOMAINS;
  }

  explainUnadmitted(token: Uint8Array): TokenRefusal {
    return this.#trust?.explainUnadmitted(token, now()) ?? NOTHING_TRUSTED;
  }

  #believes(issuerKeyId: string, foreignDomain: string | undefined): boolean {
    return foreignDomain === undefined
      ? this.#trust?.admissionKey(issuerKeyId) !== undefined
      : stillFederated(this.federation, issuerKeyId, now());
  }

  #tell(): void {
    clearTimeout(this.#timer);
    const left = firstEnd(this.federation) - now();
    // What is open is judged again when a domain ceases to be believed by itself.
    if (left > 0 && left < LONGEST_TIMER) {
      this.#timer = setTimeout(() => this.#tell(), left * 1000 + 1).unref();
    }
    for (const listener of this.#listeners) listener();
  }
}

/** A month and more is too long for a timer; something changes in the meantime. Seconds. */
const LONGEST_TIMER = 2_000_000;

const NO_DOMAINS: Federation = new Map();

const NOTHING_TRUSTED: TokenRefusal = {
  reason: 'token-untrusted',
  detail: 'no trust bundle has been read yet',
};

function now(): number {
  return Date.now() / 1000;
}
