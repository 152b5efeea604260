import { messageOf } from '../errors.ts';
import type { Pod } from '../peers/directory.ts';
import { readSmallFile } from './file-identity.ts';
import { IdentityKeeper } from './identity-keeper.ts';
import { IdentityState, ownToken } from './identity-state.ts';
import { issueToken } from './issue.ts';
import { generateOwnKey } from './keys.ts';
import { parseSharedSecret } from './trust.ts';
import { TrustInForce } from './trust-in-force.ts';

/** Seconds. */
const LIFETIME = 4 * 3600;
const RENEW_AFTER = 20 * 60;
/** How often the secret's file and the clock are looked at. */
const POLL_MS = 1_000;

/** What a sidecar says of its own pod; everybody who holds the secret is trusted with any of it. */
export interface OwnPod {
  readonly pod: Pod;
  readonly namespaceLabels: Readonly<Record<string, string>>;
}

type Secret = ReturnType<typeof parseSharedSecret>;

/**
 * The identity that a sidecar signs for itself with a pre-shared secret: anew every 20 minutes, when its pod's labels change, and when the
 * secret's file does.
 */
export class SharedSecretIdentity extends IdentityKeeper {
  readonly #file: string;
  readonly #key = generateOwnKey();
  #own: OwnPod | undefined;
  #signed: { readonly facts: string; readonly text: string; readonly at: number } | undefined;
  #trust: { readonly text: string; readonly secret: Secret; readonly inForce: TrustInForce } | undefined;
  #turn: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(file: string) {
    super();
    this.fail(`${file}: not read yet`);
    this.#file = file;
  }

  /** Who the pod is, whenever that is learnt anew. Signs if it differs from what was signed last. */
  async describe(own: OwnPod): Promise<void> {
    this.#own = own;
    this.#timer ??= setInterval(() => void this.#keepUp(), POLL_MS).unref();
    await this.#keepUp();
  }

  /** A shared secret never federates: there is nobody of another domain, also before it is read. */
  override foreignOwner(): undefined {
    return undefined;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  /** One look after the other: what was learnt last is signed last. */
  #keepUp(): Promise<void> {
    const before = this.#turn;
    const turn = async (): Promise<void> => {
      await before;
      try {
        await this.#look();
      } catch (error) {
        this.fail(messageOf(error));
      }
    };
    this.#turn = turn();
    return this.#turn;
  }

  async #look(): Promise<void> {
    const own = this.#own;
    if (own === undefined || this.#closed) return;
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
      this.#trust = { text, secret, inForce: new TrustInForce(secret, this.revocations) };
    }
    const { secret, inForce } = this.#trust!;
    const { trustDomain, algorithm, keyId } = secret;
    const signer = { trustDomain, algorithm, keyId, key: secret.keys.get(keyId)! };
    const jwt = await issueToken(signer, own.pod, own.namespaceLabels, this.#key.publicKey, now, LIFETIME);
    this.#signed = { facts, text, at: now };
    this.replace(
      () => new IdentityState(ownToken(jwt), this.#key, inForce, now),
      this.#trust === before ? undefined : inForce,
    );
  }
}
