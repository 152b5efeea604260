import { AUTHORITY, INJECTOR, type InstallObject, labelsOf, NAME } from './options.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

const rule = (
  apiGroup: string,
  resources: readonly string[],
  verbs: readonly string[],
  names?: readonly string[],
): Rule => ({
  apiGroups: [apiGroup],
  resources,
  ...(names === undefined ? {} : { resourceNames: names }),
  verbs,
});
const FOLLOW = ['get', 'list', 'watch'];

/** What the authority reads to know who a pod is and which policy concerns it. It changes nothing outside its namespace but Events. */
const AUTHORITY_CLUSTER: readonly Rule[] = [
  rule('', ['pods', 'namespaces', 'nodes', 'services'], FOLLOW),
  rule('discovery.k8s.io', ['endpointslices'], FOLLOW),
  rule('networking.k8s.io', ['networkpolicies', 'servicecidrs'], FOLLOW),
  rule(
    'policy.networking.k8s.io',
    ['clusternetworkpolicies', 'adminnetworkpolicies', 'baselineadminnetworkpolicies'],
    FOLLOW,
  ),
  rule('authentication.k8s.io', ['tokenreviews'], ['create']),
  rule('', ['events'], ['create']),
];

/** Creating cannot be bounded by a name (Kubernetes docs, «Referring to resources»); reading and changing are. */
const AUTHORITY_OWN: readonly Rule[] = [
  rule('', ['secrets'], ['create']),
  rule('', ['secrets'], ['get', 'update'], ['countersign-signing-keys', 'countersign-authority-ca']),
  rule('', ['configmaps'], ['create', ...FOLLOW, 'update']),
];

const injectorCluster = (caConfigMap: string): readonly Rule[] => [
  rule('', ['namespaces'], ['get']),
  rule('', ['pods'], ['list']),
  rule('', ['configmaps'], ['create']),
  rule('', ['configmaps'], ['get', 'list', 'update'], [caConfigMap]),
  rule('', ['events'], ['create']),
  rule(
    'admissionregistration.k8s.io',
    ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'],
    ['get', 'patch'],
    [NAME],
  ),
];

const INJECTOR_OWN: readonly Rule[] = [
  rule('', ['secrets'], ['create']),
  rule('', ['secrets'], ['get', 'update'], ['countersign-injector-ca']),
];

/** Accounts of authority and injector with the least that each needs. Sidecars need nothing. */
export function accessObjects(namespace: string, caConfigMap: string): InstallObject[] {
  return [
    ...accessOf(AUTHORITY, namespace, AUTHORITY_CLUSTER, AUTHORITY_OWN),
    ...accessOf(INJECTOR, namespace, injectorCluster(caConfigMap), INJECTOR_OWN),
  ];
}

function accessOf(
  name: string,
  namespace: string,
  cluster: readonly Rule[],
  own: readonly Rule[],
): InstallObject[] {
  const labels = labelsOf(name);
  const subjects = [{ kind: 'ServiceAccount', name, namespace }];
  const RBAC = 'rbac.authorization.k8s.io';
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace, labels } },
    { apiVersion: `${RBAC}/v1`, kind: 'ClusterRole', metadata: { name, labels }, rules: cluster },
    {
      apiVersion: `${RBAC}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name, labels },
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name },
      subjects,
    },
    { apiVersion: `${RBAC}/v1`, kind: 'Role', metadata: { name, namespace, labels }, rules: own },
    {
      apiVersion: `${RBAC}/v1`,
      kind: 'RoleBinding',
      metadata: { name, namespace, labels },
      roleRef: { apiGroup: RBAC, kind: 'Role', name },
      subjects,
    },
  ];
}
