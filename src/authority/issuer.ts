import { createHash } from 'node:crypto';
import { decodeJwt } from 'jose';
import { LRUCache } from 'lru-cache';
import { LIMITS, PATHS } from '../authority-protocol/limits.ts';
import { verifyRequest } from '../authority-protocol/request-proof.ts';
import { messageOf, UserError } from '../errors.ts';
import { issueToken, type SigningKey } from '../identity/issue.ts';
import type { ClusterLookup } from './cluster-lookup.ts';
import { type KubeRequests, statusOf } from './kube-access.ts';
import { checkPod, type SidecarMark } from './pod-check.ts';
import { RateLimit } from './rate-limit.ts';
import { claimProblem, type RecordStore } from './record-store.ts';
import { readTokenReview, refusal, type Refusal, type ReviewedPod, tokenReviewFor } from './token-review.ts';
import { UsedProofs } from './used-proofs.ts';

/** How long a token review is believed, milliseconds: sidecars that retry must not load the API server. */
const REVIEW_KEPT_MS = 600_000;

export interface IssuerOptions {
  readonly kube: KubeRequests;
  readonly records: RecordStore;
  /** undefined: nothing is known of the cluster yet. */
  readonly lookup: () => ClusterLookup | undefined;
  readonly signer: () => SigningKey;
  readonly trust: (namespace: string) => object;
  readonly sidecar: SidecarMark;
  /** Audience that service-account tokens have to be for. */
  readonly audience: string;
  /** Seconds. */
  readonly ttl: number;
  readonly renewAfter: number;
  /** Somebody else asked with a key of his own for this pod. */
  readonly onSecondKey: (pod: { namespace: string; name: string; uid: string }, alert: boolean) => void;
  /** Seconds since the epoch. */
  readonly now?: () => number;
}

export interface Issued {
  readonly status: 201;
  readonly body: object;
  readonly podUid: string;
}

/** A request for an identity, its body whole. */
export interface IdentityRequest {
  readonly token: string | undefined;
  readonly proof: string | undefined;
  readonly body: string;
}

/** A verdict of the API server over a token. */
interface KeptReview {
  readonly pod: ReviewedPod;
  /** The token's own end, seconds since the epoch. */
  readonly until: number;
}

/** Gives identities to pods that prove who they are (docs/authority-api.md). */
export class Issuer {
  readonly #options: IssuerOptions;
  readonly #reviews = new LRUCache<string, KeptReview>({ max: 20_000, ttl: REVIEW_KEPT_MS });
  readonly #proofs = new UsedProofs();
  readonly #perPod = new RateLimit({ burst: 10, perSecond: 1 / 30, names: 50_000 });

  constructor(options: IssuerOptions) {
    this.#options = options;
  }

  async issue(request: IdentityRequest): Promise<Issued | Refusal> {
    const lookup = this.#options.lookup();
    if (lookup === undefined) return refusal(503, 'not-ready', 'the cluster has not been read yet');
    const { token, proof, body } = request;
    if (token === undefined || token.length > LIMITS.token) {
      return refusal(401, 'token-invalid', 'there is no service-account token in authorization: Bearer');
    }
    const about = { method: 'POST', path: PATHS.identity, body, token };
    const asked = this.#now();
    const proven = await verifyRequest(proof ?? '', about, asked);
    if (typeof proven === 'string') return refusal(401, 'proof-invalid', proven);
    if (!this.#proofs.use(proven)) return refusal(401, 'proof-invalid', 'the proof was used before');

    const hash = createHash('sha256').update(token).digest('base64url');
    const kept = this.#reviews.get(hash);
    const believed = kept !== undefined && asked < kept.until;
    const reviewed = believed ? kept.pod : await this.#review(token);
    if ('code' in reviewed) return reviewed;
    if (!believed) this.#reviews.set(hash, { pod: reviewed, until: endOf(token) });
    if (!this.#perPod.take(reviewed.podUid, performance.now() / 1000)) {
      return refusal(429, 'too-many-requests', 'this pod has asked for too many identities');
    }

    const raw = await this.#pod(reviewed);
    if (raw instanceof Error) return refusal(503, 'not-ready', `the pod cannot be read: ${raw.message}`);
    const checked = checkPod(raw, reviewed, this.#options.sidecar);
    if ('code' in checked) {
      this.#reviews.delete(hash);
      return checked;
    }
    const { pod } = checked.object;
    // A namespace that is not in the lookup yet is as new as its first pod.
    const namespace = lookup.namespaces.get(pod.namespace);
    const namespaceLabels = { ...namespace?.labels, 'kubernetes.io/metadata.name': pod.namespace };
    let since: number;
    try {
      const claim = await this.#options.records.claim(pod.uid, proven.thumbprint, checked.restarts);
      ({ since } = claim.record);
      if (claim.kind === 'new' && claim.replaced) this.#options.onSecondKey(pod, claim.alert);
    } catch (error) {
      return refusal(503, 'not-ready', claimProblem(error));
    }
    const { ttl, renewAfter } = this.#options;
    // Of the time before the record was read: a key that came since has its mark behind that, and so over this token.
    // Not before the mark over the key's predecessor, which lies up to a second ahead.
    const at = Math.max(Math.floor(asked), since);
    try {
      const jwt = await issueToken(this.#options.signer(), pod, namespaceLabels, proven.key, at, ttl);
      const trust = this.#options.trust(pod.namespace);
      const answer = { token: jwt, expires: at + ttl, renew_after: renewAfter, trust };
      return { status: 201, body: answer, podUid: pod.uid };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      return refusal(409, 'not-issuable', error.message);
    }
  }

  async #review(token: string): Promise<ReviewedPod | Refusal> {
    const path = '/apis/authentication.k8s.io/v1/tokenreviews';
    const { kube, audience } = this.#options;
    try {
      return readTokenReview(
        await kube.request('POST', path, { body: tokenReviewFor(token, audience) }),
        audience,
      );
    } catch (error) {
      return refusal(503, 'not-ready', `the API server does not review tokens: ${messageOf(error)}`);
    }
  }

  /** The pod as the API server has it now; undefined when there is none. */
  async #pod({ namespace, podName }: ReviewedPod): Promise<unknown> {
    try {
      return await this.#options.kube.request('GET', `/api/v1/namespaces/${namespace}/pods/${podName}`);
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      return new Error(messageOf(error));
    }
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now() / 1000;
  }
}

/** When a token ends that the API server has believed, seconds since the epoch; 0: it does not say, so no verdict over it is kept. */
function endOf(token: string): number {
  try {
    return decodeJwt(token).exp ?? 0;
  } catch {
    return 0;
  }
}
