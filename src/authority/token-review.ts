/** Whose token it was, as the API server says (authentication.k8s.io/v1, TokenReview). */
export interface ReviewedPod {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly podName: string;
  readonly podUid: string;
  /** Since Kubernetes 1.30 (KEP-4193); undefined: the API server does not say. */
  readonly nodeName: string | undefined;
}

/** Why no identity is given. `status` is that of HTTP; the text is for the sidecar's log. */
export interface Refusal {
  readonly status: 401 | 403 | 409 | 429 | 503;
  readonly code:
    | 'token-invalid'
    | 'token-unbound'
    | 'proof-invalid'
    | 'pod-gone'
    | 'pod-differs'
    | 'no-sidecar'
    | 'too-many-requests'
    | 'not-issuable'
    | 'not-ready';
  readonly detail: string;
}

const USER = /^system:serviceaccount:([a-z0-9][-a-z0-9]{0,62}):([a-z0-9][-.a-z0-9]{0,252})$/;

const POD_NAME = /^[a-z0-9][-.a-z0-9]{0,252}$/;
const UID = /^[-\w]{1,128}$/;

/** The object that asks the API server about a token: for our own audience and no other. */
export function tokenReviewFor(token: string, audience: string): object {
  return {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, audiences: [audience] },
  };
}

/**
 * Reads the API server's answer. Strict: a server that does not look at audiences leaves them out of its answer, and then the token may be one that any
 * other service was given; there is no fallback.
 */
export function readTokenReview(review: unknown, audience: string): ReviewedPod | Refusal {
  const status = fields(fields(review)['status']);
  if (status['authenticated'] !== true) {
    return refusal(401, 'token-invalid', 'the API server does not believe the service-account token');
  }
  const audiences = status['audiences'];
  if (!Array.isArray(audiences) || !audiences.includes(audience)) {
    return refusal(401, 'token-invalid', `the token is not for the audience ${audience}`);
  }
  const user = fields(status['user']);
  const name = USER.exec(typeof user['username'] === 'string' ? user['username'] : '');
  if (name === null) return refusal(401, 'token-invalid', 'the token is of no service account');
  const extra = fields(user['extra']);
  const one = (key: string): string | undefined => {
    const values = extra[`authentication.kubernetes.io/${key}`];
    return Array.isArray(values) && values.length === 1 && typeof values[0] === 'string' && values[0] !== ''
      ? values[0]
      : undefined;
  };
  const [podName, podUid] = [one('pod-name'), one('pod-uid')];
  // They become parts of a path and of an object's data; an authenticator of somebody's own may answer anything.
  if (podName === undefined || podUid === undefined || !POD_NAME.test(podName) || !UID.test(podUid)) {
    return refusal(403, 'token-unbound', 'the token is not bound to a pod: project it into the pod');
  }
  return { namespace: name[1]!, serviceAccount: name[2]!, podName, podUid, nodeName: one('node-name') };
}

export function refusal(status: Refusal['status'], code: Refusal['code'], detail: string): Refusal {
  return { status, code, detail };
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
