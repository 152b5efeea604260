import { CLUSTER_FORMS } from '../policy/cluster-forms.ts';

/** A kind of objects and where the API server has them. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  /** `pods`. */
  readonly plural: string;
  /** Not every cluster has it: 404 means that there are none. */
  readonly optional: boolean;
}

const kind = (apiVersion: string, kind: string, plural: string, optional = false): Resource => ({
  apiVersion,
  kind,
  plural,
  optional,
});

export const NAMESPACES = kind('v1', 'Namespace', 'namespaces');
export const PODS = kind('v1', 'Pod', 'pods');
export const NODES = kind('v1', 'Node', 'nodes');
export const SERVICES = kind('v1', 'Service', 'services');
export const ENDPOINT_SLICES = kind('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices');
export const NETWORK_POLICIES = kind('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies');
/** Since Kubernetes 1.33; before, the addresses of Services are known from the Services alone. */
export const SERVICE_CIDRS = kind('networking.k8s.io/v1', 'ServiceCIDR', 'servicecidrs', true);
/** Custom resources: most clusters have none of them. */
export const CLUSTER_POLICIES: readonly Resource[] = CLUSTER_FORMS.map((form) =>
  kind(form.apiVersion, form.kind, pluralOf(form.kind), true),
);

/** Everything that decides who is where and what is allowed. */
export const CLUSTER_RESOURCES: readonly Resource[] = [
  NAMESPACES,
  NETWORK_POLICIES,
  ...CLUSTER_POLICIES,
  NODES,
  SERVICE_CIDRS,
  SERVICES,
  ENDPOINT_SLICES,
  PODS,
];

/** `/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies`; without a namespace those of all of them. */
export function resourcePath(resource: Resource, namespace?: string): string {
  const group = resource.apiVersion.includes('/')
    ? `/apis/${resource.apiVersion}`
    : `/api/${resource.apiVersion}`;
  const place = namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${group}${place}/${resource.plural}`;
}

/** The custom resources' own rule: lower case, and `policies` of `Policy`. */
function pluralOf(kind: string): string {
  return `${kind.toLowerCase().replace(/y$/, 'ie')}s`;
}
