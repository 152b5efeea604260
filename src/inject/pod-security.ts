const ENFORCE = 'pod-security.kubernetes.io/enforce';

/**
 * Why Pod Security Admission would refuse every pod with a sidecar in a namespace: its levels `baseline` and `restricted` do not let a container have NET_ADMIN
 * (Kubernetes, Pod Security Standards), which the init step needs. Said before it refuses, since its own message does not tell what to do.
 */
export function podSecurityProblems(namespace: {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}): string[] {
  const level = namespace.labels[ENFORCE];
  if (level !== 'baseline' && level !== 'restricted') return [];
  const remedy = `kubectl label namespace ${namespace.name} --overwrite ${ENFORCE}=privileged`;
  return [
    `namespace label ${ENFORCE}: ${level} forbids the NET_ADMIN of the sidecar's init step; lift it with «${remedy}», and hold the applications to ${level} by another policy (docs/injection.md), or leave this pod out with the label countersign.io/inject=false`,
  ];
}
