/**
 * The closed set of reasons. Every verdict carries exactly one; metric labels, flow records, log lines and
 * `docs/reference.md` all take it from here, so they agree by construction. Nothing that a peer sends is ever a reason.
 */
export const REASONS = {
  // Allowed.
  'not-isolated': {
    verdict: 'allow',
    text: 'no policy selects this pod in this direction, so everything is allowed',
  },
  'policy-allowed': { verdict: 'allow', text: 'a rule of a policy allows it' },
  self: { verdict: 'allow', text: "the pod's own call to itself" },
  'node-probe': { verdict: 'allow', text: "the pod's own node, on a port that the pod declares a probe for" },

  // Denied by policy.
  'policy-denied': {
    verdict: 'deny',
    text: 'policies select this pod and no rule of theirs allows the peer',
  },
  'unproven-denied': {
    verdict: 'deny',
    text: 'policies select this pod, the peer proved no identity, and no rule allows its address',
  },
  'policy-changed': {
    verdict: 'deny',
    text: 'was allowed; cut when a change of policy or labels no longer allowed it',
  },
  'identity-revoked': {
    verdict: 'deny',
    text: 'was allowed; cut because the identity of either side was replaced with a later not-before mark, or its pod is gone',
  },

  // The peer's identity does not hold.
  'token-malformed': { verdict: 'deny', text: "the peer's token is not a well-formed identity" },
  'token-untrusted': {
    verdict: 'deny',
    text: "the peer's token is signed by no key trusted for its trust domain",
  },
  'token-expired': { verdict: 'deny', text: "the peer's token is past its end" },
  'token-not-yet-valid': { verdict: 'deny', text: "the peer's token is not valid yet: compare the clocks" },
  'foreign-domain': {
    verdict: 'deny',
    text: "the peer's token is of a trust domain that is not accepted here",
  },
  'pod-unknown': {
    verdict: 'deny',
    text: "the peer's certificate proves its name alone, and the source knows no such pod, so there are no labels to judge",
  },
  'proof-invalid': {
    verdict: 'deny',
    text: 'the peer did not prove possession of the key that its token names',
  },
  replay: { verdict: 'deny', text: 'a handshake that was seen before' },
  'wrong-destination': {
    verdict: 'deny',
    text: 'the peer meant another destination than this pod: a relayed handshake',
  },
  'wrong-peer': {
    verdict: 'deny',
    text: 'the proven peer is not an endpoint of the address that was dialled',
  },
  'own-identity': {
    verdict: 'deny',
    text: "the peer presented this pod's own identity: a reflected handshake",
  },

  // The handshake did not get through.
  'frame-malformed': { verdict: 'deny', text: 'a preamble frame that breaks the format' },
  'frame-too-large': { verdict: 'deny', text: 'a preamble frame that announces more than is accepted' },
  'version-unsupported': {
    verdict: 'deny',
    text: 'the peer speaks no version of the preamble that is spoken here',
  },
  'handshake-timeout': { verdict: 'deny', text: 'the handshake did not finish in time' },
  'handshake-aborted': { verdict: 'deny', text: 'the peer closed the connection during the handshake' },
  'peer-silent': {
    verdict: 'deny',
    text: 'the server answered the preamble with something else: it is not enrolled, though the source says so',
  },
  'refused-by-peer': { verdict: 'deny', text: 'the other side refused; its own log says why' },
  'encryption-unavailable': { verdict: 'deny', text: 'encryption is required and this build offers none' },
  'identity-too-large': {
    verdict: 'deny',
    text: "nfqueue mode: this pod's own Reply does not fit a SYN-ACK on this path, and the client calls again by the stream carrier; fewer labels make it smaller",
  },
  'preamble-late': {
    verdict: 'deny',
    text: 'a preamble came when the application had spoken already: reset, so that the dialler starts again',
  },
  overloaded: { verdict: 'deny', text: 'too many unfinished handshakes, from this source or in all' },
  'connection-limit': {
    verdict: 'deny',
    text: 'as many connections are open as --max-connections allows, in all or from this source',
  },

  // The connection is not one to judge.
  'not-ready': { verdict: 'deny', text: 'policy or identity was not there yet' },
  'identity-unavailable': { verdict: 'deny', text: 'this pod has no valid identity of its own to prove' },
  'address-unknown': {
    verdict: 'deny',
    text: 'the address lies in the pod network and the source knows no owner of it, after waiting',
  },
  'no-endpoint': { verdict: 'deny', text: 'the Service has no ready endpoint' },
  'not-redirected': { verdict: 'deny', text: 'a connection made straight to a port of the proxy' },
  'destination-not-local': {
    verdict: 'deny',
    text: 'the redirected connection was for an address of another host',
  },
  'source-not-kept': {
    verdict: 'deny',
    text: "--keep-source-address: the client's address could not be taken for the call to the application, which is not called from another one",
  },
  'dial-failed': { verdict: 'deny', text: 'the destination could not be reached' },
  draining: { verdict: 'deny', text: 'the proxy is shutting down' },
} as const satisfies Record<string, { verdict: 'allow' | 'deny'; text: string }>;

/** One code of the closed set. */
export type Reason = keyof typeof REASONS;

/** The reasons of denials: what a `deny` or `would_deny` may carry. */
export type DenyReason = { [R in Reason]: (typeof REASONS)[R]['verdict'] extends 'deny' ? R : never }[Reason];

/** The reasons of allowed connections. */
export type AllowReason = Exclude<Reason, DenyReason>;

/** Every code, in the order of the reference. */
export const ALL_REASONS = Object.keys(REASONS) as readonly Reason[];

/** Whether a text (from a file, never from a peer) is a code of the closed set. */
export function isReason(text: string): text is Reason {
  return Object.hasOwn(REASONS, text);
}
