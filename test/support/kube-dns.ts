/** The address of the Service `kube-dns`, where pods ask for names. */
export const DNS_ADDRESS = '10.96.0.10';
/** The user that CoreDNS is to the API server. */
export const DNS_USER = 'system:coredns';

/** CoreDNS' configuration: the names of this cluster's Services and pods, and nobody else's. It runs on the node, beside kubelet. */
export function corefile(nodeAddress: string, kubeconfig: string): string {
  return `.:53 {
  bind ${nodeAddress}
  errors
  ready ${nodeAddress}:8181
  kubernetes cluster.local {
    kubeconfig ${kubeconfig}
    ttl 1
  }
}
`;
}

/** The Service by which pods reach CoreDNS on the node, and its right to read what it answers about. */
export function dnsObjects(nodeAddress: string): object[] {
  const metadata = { name: 'kube-dns', namespace: 'kube-system' };
  const ports = ['UDP', 'TCP'].map((protocol) => ({
    name: `dns-${protocol.toLowerCase()}`,
    port: 53,
    protocol,
  }));
  const role = { name: DNS_USER };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { clusterIP: DNS_ADDRESS, ports: ports.map((port) => ({ ...port, targetPort: 53 })) },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'kube-dns' } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [nodeAddress], conditions: { ready: true } }],
      ports,
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: role,
      rules: [
        { apiGroups: [''], resources: ['services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
        { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
      ],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: role,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: DNS_USER },
      subjects: [{ kind: 'User', name: DNS_USER, apiGroup: 'rbac.authorization.k8s.io' }],
    },
  ];
}
