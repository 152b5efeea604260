/** Where the proxy listens in every pod. `docs/redirect.md` lists them. */
export const OUTBOUND_PORT = 14_001;
export const INBOUND_PORT = 14_006;
export const METRICS_PORT = 14_020;

/** On loopback: redirected like the pod's own calls; the proxy's test that they are. */
export const REDIRECT_PROBE_PORT = 14_010;
/** On loopback: refused by the last rule of a filter, though somebody listens; the proxy's tests that those rules are there. */
export const INBOUND_FILTER_PROBE_PORT = 14_011;
export const OUTBOUND_FILTER_PROBE_PORT = 14_012;

export const DEFAULT_PROXY_UID = 14_014;
