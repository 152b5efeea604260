import type { Curves } from '../lib/curves.ts';
import { DescribedIdentity, type OwnPod } from './described-identity.ts';
import { readSmallFile } from './file-identity.ts';
import { IdentityState, ownToken } from './identity-state.ts';
import { issueToken } from './issue.ts';
import { generateOwnKey } from './keys.ts';
import { parseSharedSecret } from './trust.ts';
import { TrustInForce } from './trust-in-force.ts';

/** Seconds. */
const LIFETIME = 4 * 3600;
const RENEW_AFTER = 20 * 60;

type Secret = ReturnType<typeof parseSharedSecret>;

/**
 * The identity that a sidecar signs for itself with a pre-shared secret: anew every 20 minutes, when its pod's labels change, and when the
 * secret's file does. Everybody who holds the secret is trusted with whatever it says of its pod.
 */
export class SharedSecretIdentity extends DescribedIdentity {
  readonly #file: string;
  readonly #key = generateOwnKey();
  #signed: { readonly facts: string; readonly text: string; readonly at: number } | undefined;
  #trust: { readonly text: string; readonly secret: Secret; readonly inForce: TrustInForce } | undefined;

  constructor(file: string, curves?: Curves) {
    super(file, curves);
    this.#file = file;
  }

  /** A shared secret never federates: there is nobody of another domain, also before it is read. */
  override foreignOwner(): undefined {
    return undefined;
  }

  /** Signs if what is to be said differs from what was signed last. */
  protected async look(own: OwnPod): Promise<void> {
    const text = await readSmallFile(this.#file);
    const { uid, labels, serviceAccount, name, namespace } = own.pod;
    const facts = JSON.stringify([uid, labels, serviceAccount, name, namespace, own.namespaceLabels]);
    const now = Date.now() / 1000;
    // A clock that was set back makes a token that begins in the future: also a reason to sign anew.
    const age = now - (this.#signed?.at ?? 0);
    const fresh = age >= 0 && age < RENEW_AFTER && this.problem === undefined;
    if (fresh && this.#signed?.facts === facts && this.#signed.text === text) return;

    const before = this.#trust;
    if (before?.text !== text) {
      const secret = parseSharedSecret(text, this.#file);
      this.#trust = { text, secret, inForce: new TrustInForce(secret, this.revocations, this.curves) };
    }
    const { secret, inForce } = this.#trust!;
    const { trustDomain, algorithm, keyId } = secret;
    const signer = { trustDomain, algorithm, keyId, key: secret.keys.get(keyId)! };
    const jwt = await issueToken(signer, own.pod, own.namespaceLabels, this.#key.publicKey, now, LIFETIME);
    this.#signed = { facts, text, at: now };
    this.replace(
      () => new IdentityState(ownToken(jwt), this.#key, inForce, now, this.curves),
      this.#trust === before ? undefined : inForce,
    );
  }
}
