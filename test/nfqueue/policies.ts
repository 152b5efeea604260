import type { NetworkPolicy } from '../../src/policy/model.ts';

const selector = (labels: Record<string, string>) => ({ matchLabels: labels, matchExpressions: [] });

/** Isolates the pods with that `app` against calls, but for those of pods with the other `app`. */
export function allowFrom(app: string, from: string): NetworkPolicy {
  return {
    namespace: 'demo',
    name: app,
    podSelector: selector({ app }),
    policyTypes: ['Ingress'],
    ingress: [
      {
        peers: [{ kind: 'pods', podSelector: selector({ app: from }), namespaceSelector: undefined }],
        ports: undefined,
      },
    ],
    egress: [],
  };
}

/** Forbids the pods with that `app` every call. */
export function noCalls(app: string): NetworkPolicy {
  const name = `${app}-calls-nobody`;
  return {
    namespace: 'demo',
    name,
    podSelector: selector({ app }),
    policyTypes: ['Egress'],
    ingress: [],
    egress: [],
  };
}
