import { NEVER_INJECTED } from '../inject/decision.ts';
import { INJECT_LABEL, OWN_CONTAINERS } from '../inject/names.ts';
import { INJECTOR, type InstallObject, labelsOf, NAME } from './options.ts';

const OWN = OWN_CONTAINERS.map((name) => `'${name}'`).join(', ');

/** CEL (KEP-3716, match conditions): what holds of a container of ours. It stands in one of two lists, and neither can get or lose one in a pod that lives. */
function someOfOurs(more: (list: string) => string = () => ''): string {
  return ['initContainers', 'containers']
    .map(
      (list) =>
        `(has(object.spec.${list}) && object.spec.${list}.exists(c, c.name in [${OWN}]${more(list)}))`,
    )
    .join(' || ');
}

const HAS_A_SIDECAR = someOfOurs();
const CHANGES_ITS_IMAGE = someOfOurs(
  (list) =>
    ` && !(has(oldObject.spec.${list}) && oldObject.spec.${list}.exists(o, o.name == c.name && o.image == c.image))`,
);

/** Frozen, it could not be renewed either. */
const CHANGES_DATA =
  'oldObject == null || has(object.immutable) || !has(object.data) || !has(oldObject.data) || object.data != oldObject.data';

/**
 * The webhook configurations. Only pods that ask for a sidecar, or live where one is asked for, ever reach the injector: with it away those alone
 * cannot be made (`failurePolicy: Fail`), and none of them starts unprotected. `caBundle` is missing on purpose: the injector patches it in, and what
 * is applied again leaves it alone.
 */
export function webhookObjects(namespace: string, caConfigMap: string): InstallObject[] {
  const labels = labelsOf(INJECTOR);
  const common = (path: string): object => ({
    admissionReviewVersions: ['v1'],
    clientConfig: { service: { name: INJECTOR, namespace, path, port: 443 } },
    failurePolicy: 'Fail',
    matchPolicy: 'Equivalent',
    sideEffects: 'NoneOnDryRun',
    timeoutSeconds: 5,
  });
  const except = {
    key: 'kubernetes.io/metadata.name',
    operator: 'NotIn',
    values: [...NEVER_INJECTED, namespace],
  };
  const rules = (operations: readonly string[], resource: string): object[] => [
    { apiGroups: [''], apiVersions: ['v1'], operations, resources: [resource], scope: 'Namespaced' },
  ];
  const pods = (operation: string, resource: string): object[] => rules([operation], resource);
  // Every value but "false": one that is neither has to be refused with a sentence, not passed over.
  const asks = { key: INJECT_LABEL, operator: 'NotIn', values: ['false'] };
  const exists = { key: INJECT_LABEL, operator: 'Exists' };
  return [
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingWebhookConfiguration',
      metadata: { name: NAME, labels },
      webhooks: [
        {
          name: 'pod.inject.countersign.io',
          ...common('/inject'),
          reinvocationPolicy: 'IfNeeded',
          namespaceSelector: { matchExpressions: [except] },
          objectSelector: { matchExpressions: [exists, asks] },
          rules: pods('CREATE', 'pods'),
        },
        {
          name: 'namespace.inject.countersign.io',
          ...common('/inject'),
          reinvocationPolicy: 'IfNeeded',
          namespaceSelector: { matchExpressions: [except, exists, asks] },
          objectSelector: { matchExpressions: [{ key: INJECT_LABEL, operator: 'DoesNotExist' }] },
          rules: pods('CREATE', 'pods'),
        },
      ],
    },
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: NAME, labels },
      webhooks: [
        {
          name: 'verify.inject.countersign.io',
          ...common('/verify'),
          namespaceSelector: { matchExpressions: [except] },
          objectSelector: { matchLabels: { [INJECT_LABEL]: 'true' } },
          rules: pods('CREATE', 'pods'),
        },
        {
          name: 'names.inject.countersign.io',
          ...common('/verify'),
          namespaceSelector: { matchExpressions: [except] },
          // Who asks for no sidecar may not bring one: a label that is written later would enrol the pod.
          objectSelector: { matchExpressions: [{ key: INJECT_LABEL, operator: 'NotIn', values: ['true'] }] },
          matchConditions: [{ name: 'has-a-sidecar', expression: HAS_A_SIDECAR }],
          rules: pods('CREATE', 'pods'),
        },
        {
          name: 'ephemeral.inject.countersign.io',
          ...common('/ephemeral'),
          namespaceSelector: { matchExpressions: [except] },
          // Not by the label: whoever may change a pod could take it off first.
          matchConditions: [{ name: 'has-a-sidecar', expression: HAS_A_SIDECAR }],
          rules: pods('UPDATE', 'pods/ephemeralcontainers'),
        },
        {
          name: 'bundle.inject.countersign.io',
          ...common('/bundle'),
          namespaceSelector: { matchExpressions: [except] },
          // What comes through all of them is refused: whoever could change it would be the authority of the pods of his namespace.
          matchConditions: [
            { name: 'is-the-bundle', expression: `object.metadata.name == '${caConfigMap}'` },
            { name: 'changes-it', expression: CHANGES_DATA },
            {
              name: 'is-not-the-injector',
              expression: `request.userInfo.username != 'system:serviceaccount:${namespace}:${INJECTOR}'`,
            },
          ],
          rules: rules(['CREATE', 'UPDATE'], 'configmaps'),
        },
        {
          name: 'image.inject.countersign.io',
          ...common('/verify'),
          namespaceSelector: { matchExpressions: [except] },
          // Every pod is changed now and then, and nearly none in this: the API server sees that alone.
          matchConditions: [{ name: 'changes-the-image-of-the-sidecar', expression: CHANGES_ITS_IMAGE }],
          rules: pods('UPDATE', 'pods'),
        },
      ],
    },
  ];
}
