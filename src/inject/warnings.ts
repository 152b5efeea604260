import type { Pod } from './pod.ts';

/**
 * What whoever makes a pod should know although it is taken as it is. The API server hands each line to kubectl, cut after 256 characters
 * (AdmissionResponse, `warnings`).
 */
export function warningsOf(pod: Pod): string[] {
  const policy = pod.spec?.dnsPolicy;
  return policy === 'Default' || policy === 'None'
    ? [
        `spec.dnsPolicy: ${policy}: the sidecar finds the authority by the cluster's DNS; the application starts only where the pod's DNS knows it (docs/injection.md)`,
      ]
    : [];
}
