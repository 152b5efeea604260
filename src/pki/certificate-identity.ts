import { UserError } from '../errors.ts';
import { DescribedIdentity, type OwnPod } from '../identity/described-identity.ts';
import { readSmallFile } from '../identity/file-identity.ts';
import { IdentityState } from '../identity/identity-state.ts';
import { CertificateTrust, parseRoots } from './certificate-trust.ts';
import { ownChain, ownPrivateKey } from './own-certificate.ts';

export interface CertificateFiles {
  /** The pod's certificate and the authorities between it and a root, PEM. */
  readonly certificate: string;
  /** The private key, PEM; it may be the same file, as kubelet writes it with `credentialBundlePath` (KEP-4317). */
  readonly key: string;
  /** The roots to believe, PEM. */
  readonly trust: string;
  readonly trustDomain: string;
}

/**
 * The identity in a certificate that somebody issues and renews: kubelet, cert-manager, an operator. It proves which pod this is; the labels that others judge it by
 * are those that their source has of that pod. A certificate and a key that do not belong together (between two files' rotation) wait for the next look.
 */
export class CertificateIdentity extends DescribedIdentity {
  readonly #files: CertificateFiles;
  #seen = '';
  #trust: { readonly text: string; readonly inForce: CertificateTrust } | undefined;

  constructor(files: CertificateFiles) {
    super(files.certificate);
    this.#files = files;
  }

  /** A certificate of any other pod than the own one is refused. */
  protected async look({ pod: own }: OwnPod): Promise<void> {
    const { certificate, key, trust, trustDomain } = this.#files;
    const trustText = await readSmallFile(trust);
    const [chainText, keyText] = await this.#readPair();
    const { namespace, name, uid, serviceAccount } = own;
    const seen = JSON.stringify([
      trustText,
      String(chainText),
      String(keyText),
      namespace,
      name,
      uid,
      serviceAccount,
    ]);
    // With a problem in the air the same contents are tried again: a certificate may have begun meanwhile.
    if (seen === this.#seen && this.problem === undefined) return;
    this.#seen = seen;
    const before = this.#trust;
    if (before?.text !== trustText) {
      const inForce = new CertificateTrust(trustDomain, parseRoots(trustText, trust), this.revocations);
      this.#trust = { text: trustText, inForce };
    }
    const { inForce } = this.#trust!;
    this.replace(
      () => {
        if (chainText instanceof Error) throw chainText;
        if (keyText instanceof Error) throw keyText;
        const chain = ownChain(chainText, certificate, inForce);
        const state = new IdentityState(
          chain,
          ownPrivateKey(keyText, key),
          inForce,
          Date.now() / 1000,
          this.curves,
        );
        const { own: said } = state;
        const same =
          said.namespace === namespace &&
          said.podName === name &&
          said.podUid === uid &&
          said.serviceAccount === serviceAccount;
        if (same) return state;
        throw new UserError(
          `${certificate}: is of the pod ${said.namespace}/${said.podName} (${said.podUid}, service account ${said.serviceAccount}), and this is ${namespace}/${name} (${uid}, ${serviceAccount})`,
        );
      },
      this.#trust === before ? undefined : inForce,
    );
  }

  /** Of one file both at once, so that they belong together. */
  async #readPair(): Promise<[string | Error, string | Error]> {
    const { certificate, key } = this.#files;
    const chain = await readSmallFile(certificate).catch((error: Error) => error);
    return [chain, certificate === key ? chain : await readSmallFile(key).catch((error: Error) => error)];
  }
}
