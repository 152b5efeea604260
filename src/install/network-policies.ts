import { AUTHORITY, INJECTOR, type InstallObject, labelsOf, PORTS } from './options.ts';

/**
 * What may reach the control plane's own pods, for the CNI to enforce: sidecars the authority, the API server (which has no labels, and whose address nobody
 * knows beforehand) the injector, monitoring the metrics. Egress stays open: the API server is all they dial, at an address that differs by cluster.
 */
export function networkPolicyObjects(namespace: string): InstallObject[] {
  const policy = (name: string, port: number): InstallObject => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace, labels: labelsOf(name) },
    spec: {
      podSelector: { matchLabels: { 'app.kubernetes.io/name': name } },
      policyTypes: ['Ingress'],
      ingress: [
        { ports: [{ port, protocol: 'TCP' }] },
        { from: [{ namespaceSelector: {} }], ports: [{ port: PORTS.metrics, protocol: 'TCP' }] },
      ],
    },
  });
  return [policy(AUTHORITY, PORTS.authority), policy(INJECTOR, PORTS.injector)];
}
