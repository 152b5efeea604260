/** Who a pod has proven to be, as it is kept with a flow. */
export const WEB = {
  publicKey: { verify: () => true },
  expiresAt: 1_800_000_100,
  podUid: 'uid-web',
  namespace: 'demo',
  podName: 'web',
  labels: { app: 'web' },
  namespaceLabels: {},
  issuerKeyId: 'issuer',
  issuedAt: 1_800_000_000,
};
