import { CLUSTER_FORMS } from '../policy/cluster-forms.ts';
import type {
  ClusterPeer,
  ClusterPolicy,
  ClusterPort,
  ClusterRule,
  PodSelection,
} from '../policy/cluster-model.ts';
import type { NetworkPolicy, PolicyPeer, PolicyRule } from '../policy/model.ts';
import type { ClusterObject } from '../sources/objects.ts';
import type { PodObject } from '../sources/objects-pod.ts';
import type { EndpointSliceObject, ServiceObject } from '../sources/objects-service.ts';

/**
 * An object as it goes over the stream: in the form of the Kubernetes API, reduced to the fields that decide. That form is the most stable one there is;
 * sidecars read it with the decoders that read manifests, and older ones pass over fields that they do not know.
 */
export function wireObject(object: ClusterObject): object {
  switch (object.kind) {
    case 'Namespace':
      return {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: object.name, labels: object.labels, annotations: object.annotations },
      };
    case 'Pod':
      return wirePod(object);
    case 'Node':
      return {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: object.name, labels: object.labels },
        spec: { podCIDRs: object.podCidrs },
        status: { addresses: object.addresses.map((address) => ({ type: 'InternalIP', address })) },
      };
    case 'ServiceCIDR':
      return {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'ServiceCIDR',
        metadata: { name: object.name },
        spec: { cidrs: object.cidrs },
      };
    case 'Service':
      return wireService(object);
    case 'EndpointSlice':
      return wireSlice(object);
    case 'NetworkPolicy':
      return wirePolicy(object.policy);
    case 'ClusterPolicy':
      return wireClusterPolicy(object.policy);
  }
}

function wirePod({ pod, annotations, finished, terminating, createdAt }: PodObject): object {
  // What kubelet probes is told as one probe per port: only the numbers matter.
  const probes = pod.probePorts.map((port) => ({ name: `p${port}`, livenessProbe: { tcpSocket: { port } } }));
  const ports = pod.ports.map(({ name, port, protocol }) => ({ name, containerPort: port, protocol }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: pod.namespace,
      name: pod.name,
      uid: pod.uid,
      labels: pod.labels,
      annotations,
      ...(createdAt === 0 ? {} : { creationTimestamp: new Date(createdAt).toISOString() }),
      ...(terminating ? { deletionTimestamp: new Date(createdAt).toISOString() } : {}),
    },
    spec: {
      serviceAccountName: pod.serviceAccount,
      ...(pod.nodeName === undefined ? {} : { nodeName: pod.nodeName }),
      ...(pod.hostNetwork ? { hostNetwork: true } : {}),
      containers: [...(ports.length > 0 ? [{ name: 'ports', ports }] : []), ...probes],
    },
    status: {
      phase: finished ? 'Succeeded' : 'Running',
      podIPs: pod.addresses.map((ip) => ({ ip })),
    },
  };
}

function wireService(service: ServiceObject): object {
  const given = new Set([...service.clusterAddresses, ...service.balancerAddresses]);
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: service.namespace, name: service.name },
    spec: {
      clusterIPs: service.clusterAddresses,
      externalIPs: service.addresses.filter((address) => !given.has(address)),
      ports: service.ports,
      sessionAffinity: service.clientIpAffinity ? 'ClientIP' : 'None',
      internalTrafficPolicy: service.localTraffic ? 'Local' : 'Cluster',
    },
    status: { loadBalancer: { ingress: service.balancerAddresses.map((ip) => ({ ip })) } },
  };
}

function wireSlice(slice: EndpointSliceObject): object {
  const six = slice.endpoints.some(({ addresses }) => addresses.some((one) => one.includes(':')));
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: slice.namespace,
      name: slice.name,
      labels: { 'kubernetes.io/service-name': slice.service },
    },
    addressType: six ? 'IPv6' : 'IPv4',
    ports: slice.ports,
    endpoints: slice.endpoints.map((endpoint) => ({
      addresses: endpoint.addresses,
      conditions: { ready: endpoint.ready, serving: endpoint.serving, terminating: endpoint.terminating },
      ...(endpoint.nodeName === undefined ? {} : { nodeName: endpoint.nodeName }),
      hints: {
        forZones: endpoint.hintedZones.map((name) => ({ name })),
        forNodes: endpoint.hintedNodes.map((name) => ({ name })),
      },
    })),
  };
}

function wirePolicy(policy: NetworkPolicy): object {
  const rule = (side: 'from' | 'to') => (one: PolicyRule) => ({
    ...(one.peers === undefined ? {} : { [side]: one.peers.map(wirePeer) }),
    ...(one.ports === undefined
      ? {}
      : {
          ports: one.ports.map(({ protocol, port, endPort }) => ({
            protocol,
            ...(port === undefined ? {} : { port }),
            ...(endPort === undefined ? {} : { endPort }),
          })),
        }),
  });
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: policy.namespace, name: policy.name },
    spec: {
      podSelector: policy.podSelector,
      policyTypes: policy.policyTypes,
      ingress: policy.ingress.map(rule('from')),
      egress: policy.egress.map(rule('to')),
    },
  };
}

function wirePeer(peer: PolicyPeer): object {
  if (peer.kind === 'block') return { ipBlock: { cidr: peer.cidr, except: peer.except } };
  const { podSelector, namespaceSelector } = peer;
  return {
    ...(podSelector === undefined ? {} : { podSelector }),
    ...(namespaceSelector === undefined ? {} : { namespaceSelector }),
  };
}

function wireClusterPolicy(policy: ClusterPolicy): object {
  const [kind = '', name = ''] = policy.id.split('/');
  const form = CLUSTER_FORMS.find((one) => one.kind.toLowerCase() === kind)!;
  const words = new Map(Object.entries(form.actions).map(([word, action]) => [action, word]));
  const rule = (side: 'from' | 'to') => (one: ClusterRule) => ({
    name: one.name,
    action: words.get(one.action),
    [side]: one.peers.map(wireClusterPeer),
    ...(one.ports === undefined
      ? {}
      : {
          [form.portsField]: one.ports.map(form.portsField === 'protocols' ? wireProtocol : wireAdminPort),
        }),
  });
  return {
    apiVersion: form.apiVersion,
    kind: form.kind,
    metadata: { name },
    spec: {
      ...(form.tier === undefined ? { tier: policy.tier } : {}),
      ...(form.specFields.includes('priority') ? { priority: policy.priority } : {}),
      subject: selection(policy.subject),
      ingress: policy.ingress.map(rule('from')),
      egress: policy.egress.map(rule('to')),
    },
  };
}

function selection({ namespaceSelector, podSelector }: PodSelection): object {
  return podSelector === undefined
    ? { namespaces: namespaceSelector }
    : { pods: { namespaceSelector, podSelector } };
}

function wireClusterPeer(peer: ClusterPeer): object {
  switch (peer.kind) {
    case 'pods':
      return selection(peer);
    case 'nodes':
      return { nodes: peer.selector };
    case 'networks':
      return { networks: peer.cidrs };
    case 'domains':
      return { domainNames: peer.names };
  }
}

/** v1alpha2. */
function wireProtocol(port: ClusterPort): object {
  if ('name' in port) return { destinationNamedPort: port.name };
  const { protocol, first, last } = port;
  return {
    [protocol.toLowerCase()]: {
      destinationPort: first === last ? { number: first } : { range: { start: first, end: last } },
    },
  };
}

/** v1alpha1. */
function wireAdminPort(port: ClusterPort): object {
  if ('name' in port) return { namedPort: port.name };
  const { protocol, first, last } = port;
  return first === last
    ? { portNumber: { protocol, port: first } }
    : { portRange: { protocol, start: first, end: last } };
}
