import type { Mark } from '../authority-protocol/messages.ts';
import { UserError } from '../errors.ts';
import { IdentityKeeper } from '../identity/identity-keeper.ts';
import { IdentityState, ownToken } from '../identity/identity-state.ts';
import type { OwnKey } from '../identity/keys.ts';
import { parseFederatedTrust } from '../identity/trust.ts';
import { TrustInForce } from '../identity/trust-in-force.ts';
import type { ProvenIdentity, Verification } from '../identity/verify.ts';
import type { Curves } from '../lib/curves.ts';

/** A mark counts for that long beyond now, seconds: nothing is issued to a pod that is gone. */
const GONE_AHEAD = 60;

/** The identity that an authority signs for this pod, and the trust that it tells of. */
export class AuthorityIdentity extends IdentityKeeper {
  readonly key: OwnKey;
  readonly #pod: string;
  readonly #onPeer: (peer: ProvenIdentity) => void;
  readonly #onProblem: (problem: string) => void;
  #jwt: string | undefined;
  #trust: { readonly text: string; readonly inForce: TrustInForce } | undefined;

  /**
   * @param pod `namespace/name`: an identity of any other pod is refused
   * @param onPeer told of every peer of the own domain whose token is believed: the authority knows what becomes of it
   * @param onProblem told of other domains that cannot be read
   */
  constructor(
    key: OwnKey,
    pod: string,
    onPeer: (peer: ProvenIdentity) => void,
    onProblem: (problem: string) => void = () => {},
    curves?: Curves,
  ) {
    super(curves);
    this.#onProblem = onProblem;
    this.fail('the authority has not given an identity yet');
    this.key = key;
    this.#pod = pod;
    this.#onPeer = onPeer;
  }

  /** The identity as the authority signed it; undefined past its end. */
  get jwt(): string | undefined {
    return this.credentials() === undefined ? undefined : this.#jwt;
  }

  /** Nothing is held here: the link ends with its source. */
  close(): void {}

  /** Takes an identity with the trust bundle of its moment. What cannot be used is a problem and changes nothing. */
  accept(jwt: string, trust: object): void {
    const before = this.#trust;
    const inForce = this.#trustOf(trust);
    this.replace(
      () => {
        const state = new IdentityState(ownToken(jwt), this.key, inForce, Date.now() / 1000, this.curves);
        const named = `${state.own.namespace}/${state.own.podName}`;
        if (named !== this.#pod) throw new UserError(otherPod(named, this.#pod));
        this.#jwt = jwt;
        return state;
      },
      this.#trust === before ? undefined : inForce,
    );
  }

  /** Takes a trust bundle. Throws a `UserError` when it is none. */
  trustIn(trust: object): void {
    const before = this.#trust;
    const inForce = this.#trustOf(trust);
    const own = this.#jwt;
    if (this.#trust === before || own === undefined) return;
    this.replace(
      () => new IdentityState(ownToken(own), this.key, inForce, Date.now() / 1000, this.curves),
      inForce,
    );
  }

  /** Kills tokens of pods that are gone or have another key. */
  mark(marks: readonly Mark[]): void {
    const latest = Math.ceil(Date.now() / 1000) + GONE_AHEAD;
    for (const { uid, notBefore } of marks) this.revokeBefore(uid, Math.min(notBefore, latest));
  }

  override verify(token: Uint8Array): Verification {
    const verified = super.verify(token);
    if ('identity' in verified && verified.identity.foreignDomain === undefined)
      this.#onPeer(verified.identity);
    return verified;
  }

  #trustOf(trust: object): TrustInForce {
    const text = JSON.stringify(trust);
    if (this.#trust?.text !== text) {
      const bundle = parseFederatedTrust(text, "the authority's trust bundle", this.#onProblem);
      this.#trust = { text, inForce: new TrustInForce(bundle, this.revocations, this.curves) };
    }
    return this.#trust.inForce;
  }
}

/** What to do when an authority speaks of another pod than the one that this sidecar was told it stands in. */
export function otherPod(named: string, own: string): string {
  return `the authority names the pod ${named}, and --pod says ${own}: mount the service-account token of ${own}, or correct --pod`;
}
