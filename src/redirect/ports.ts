/** Where the proxy listens in every pod. `docs/redirect.md` lists them. */
export const OUTBOUND_PORT = 14_001;
export const INBOUND_PORT = 14_006;
export const METRICS_PORT = 14_020;

/** On loopback: redirected like the pod's own calls; the proxy's test that they are. */
export const REDIRECT_PROBE_PORT = 14_010;
/** On loopback: dropped by the filter, where a closed port would refuse; the proxy's test that it is there. */
export const FILTER_PROBE_PORT = 14_011;

export const DEFAULT_PROXY_UID = 14_014;
