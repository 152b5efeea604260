import { readFile } from 'node:fs/promises';
import { messageOf, UserError } from '../errors.ts';
import type { Pod } from '../peers/directory.ts';
import { IdentityKeeper } from './identity-keeper.ts';
import { IdentityState } from './identity-state.ts';
import { issueToken } from './issue.ts';
import { generateOwnKey } from './keys.ts';
import { parseSharedSecret } from './trust.ts';

/** Seconds. */
const LIFETIME = 4 * 3600;
const RENEW_MS = 20 * 60_000;
/** After a failure. */
const RETRY_MS = 5_000;

/** What a sidecar says of its own pod; everybody who holds the secret is trusted with any of it. */
export interface OwnPod {
  readonly pod: Pod;
  readonly namespaceLabels: Readonly<Record<string, string>>;
}

/**
 * The identity that a sidecar signs for itself with a pre-shared secret, anew every 20 minutes and whenever its pod's labels change. The secret's
 * file is read again each time.
 */
export class SharedSecretIdentity extends IdentityKeeper {
  readonly #file: string;
  readonly #key = generateOwnKey();
  #own: OwnPod | undefined;
  #signedFor = '';
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(file: string) {
    super();
    this.#file = file;
  }

  /** Who the pod is, whenever that is learnt anew. Signs if it differs from what was signed last. */
  async describe(own: OwnPod): Promise<void> {
    this.#own = own;
    const { uid, labels, serviceAccount, name, namespace } = own.pod;
    const facts = JSON.stringify([uid, labels, serviceAccount, name, namespace, own.namespaceLabels]);
    if (facts === this.#signedFor) return;
    this.#signedFor = facts;
    await this.#sign();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #sign(): Promise<void> {
    clearTimeout(this.#timer);
    const own = this.#own;
    if (own === undefined || this.#closed) return;
    const now = Date.now() / 1000;
    try {
      const bundle = parseSharedSecret(await this.#read(), this.#file);
      const key = bundle.keys.get(bundle.keyId)!;
      const { trustDomain, algorithm, keyId } = bundle;
      const signer = { trustDomain, algorithm, keyId, key };
      const jwt = await issueToken(signer, own.pod, own.namespaceLabels, this.#key.publicKey, now, LIFETIME);
      this.replace(() => new IdentityState(jwt, this.#key, bundle, now));
    } catch (error) {
      this.fail(messageOf(error));
    }
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#sign(), this.problem === undefined ? RENEW_MS : RETRY_MS);
    this.#timer.unref();
  }

  async #read(): Promise<string> {
    try {
      return await readFile(this.#file, 'utf8');
    } catch (error) {
      throw new UserError(`cannot read ${this.#file}: ${messageOf(error)}`);
    }
  }
}
