import { messageOf } from '../errors.ts';
import { RotationKeeper } from '../rotation/keeper.ts';
import type { SharedObject } from '../rotation/shared-object.ts';
import { CA_ROTATION, decodeAuthorities, encodeAuthorities, SERVING } from './authority-state.ts';
import {
  type CertificateAuthority,
  type CertifiedKey,
  issueServingCertificate,
  makeCertificateAuthority,
} from './certificate-authority.ts';

const LOOK_MS = 60_000;

export interface ServingCertificatesOptions {
  /** The Secret that replicas share. */
  readonly object: SharedObject;
  /** Names and addresses under which the server is reached. */
  readonly names: readonly string[];
  readonly onProblem?: (problem: string) => void;
  /** Seconds since the epoch. */
  readonly now?: () => number;
}

/**
 * The serving certificate of this replica and the bundle by which others trust it. The authority over it lives in a Secret and rotates with overlap; the
 * serving key is made here and leaves the process never.
 */
export class ServingCertificates {
  readonly #options: ServingCertificatesOptions;
  readonly #keeper: RotationKeeper<CertificateAuthority>;
  readonly #listeners = new Set<() => void>();
  #serving: (CertifiedKey & { readonly issuedAt: number; readonly issuer: number }) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #told = '';

  constructor(options: ServingCertificatesOptions) {
    this.#options = options;
    this.#keeper = new RotationKeeper<CertificateAuthority>({
      object: options.object,
      policy: CA_ROTATION,
      make: (now) => makeCertificateAuthority('countersign', now),
      decode: (data) => Promise.resolve(decodeAuthorities(data)),
      encode: encodeAuthorities,
      ...(options.now === undefined ? {} : { now: options.now }),
      ...(options.onProblem === undefined ? {} : { onProblem: options.onProblem }),
    });
  }

  /** What to serve with. Throws before {@link start}. */
  get serving(): CertifiedKey {
    if (this.#serving === undefined) throw new Error('no serving certificate before the start');
    return this.#serving;
  }

  /** The certificates of all authorities that may have signed what is served, as PEM. */
  get bundle(): string {
    return this.#keeper.rotation.published.map(({ certificate }) => certificate).join('');
  }

  /** Called after a new serving certificate or a new bundle. */
  subscribe(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Throws when the Secret can neither be read nor made. */
  async start(): Promise<void> {
    await this.#keeper.start();
    await this.look();
    if (this.#timer === undefined) this.#keeper.subscribe(() => void this.#lookAgain());
    this.#timer ??= setInterval(() => void this.#lookAgain(), LOOK_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#keeper.close();
  }

  /** Looks whether the Secret has changed or the certificate is to be renewed. */
  async look(): Promise<void> {
    await this.#keeper.look();
    const now = this.#options.now?.() ?? Date.now() / 1000;
    const active = this.#keeper.rotation.active!;
    const known = this.#serving;
    const age = now - (known?.issuedAt ?? 0);
    if (known === undefined || known.issuer !== active.createdAt || age >= SERVING.renewAfter || age < 0) {
      const { names } = this.#options;
      const made = await issueServingCertificate(active, { names, now, lifetime: SERVING.lifetime });
      this.#serving = { ...made, issuedAt: now, issuer: active.createdAt };
    }
    const state = this.serving.certificate + this.bundle;
    if (state === this.#told) return;
    this.#told = state;
    for (const listener of this.#listeners) listener();
  }

  async #lookAgain(): Promise<void> {
    try {
      await this.look();
    } catch (error) {
      this.#options.onProblem?.(messageOf(error));
    }
  }
}
