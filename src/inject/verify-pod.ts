import { decide } from './decision.ts';
import { grantsOf } from './grants.ts';
import { injectPod, type InjectNamespace } from './inject-pod.ts';
import { INJECT_LABEL, OWN_CONTAINERS, OWN_VOLUMES } from './names.ts';
import type { Container, Pod } from './pod.ts';
import { refusalsOf } from './refusals.ts';
import type { InjectSettings } from './settings.ts';
import { stripPod } from './uninject-pod.ts';

/**
 * Looks at a pod after every webhook has had its turn: another one may have changed what injection put there, or added what injection would have
 * refused. Defaults that the API server fills in are no change, nor are resources (LimitRanger, VPA) and further environment variables and mounts.
 *
 * A pod that needs no sidecar may not bring one: nothing would lead its connections there, and once the label is written on it, it had an identity.
 *
 * @returns what is wrong; empty when the pod is as it has to be
 */
export function verifyPod(
  pod: Pod,
  namespace: InjectNamespace,
  settings: InjectSettings,
  release: string,
): string[] {
  if (decide(pod, namespace).inject !== true) return sidecarsOfItsOwn(pod);
  const bare = stripPod(pod);
  const { grants } = grantsOf(namespace.annotations);
  const problems = refusalsOf(bare, settings, grants);
  const wanted = injectPod(bare, namespace, settings, release);
  if (wanted.outcome !== 'injected') return wanted.outcome === 'refused' ? [...wanted.problems] : problems;
  const all = ({ spec }: Pod): Container[] => [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
  for (const expected of all(wanted.pod).filter(({ name }) => OWN_CONTAINERS.includes(name))) {
    const found = all(pod).filter(({ name }) => name === expected.name);
    const [actual] = found;
    if (actual === undefined)
      problems.push(`container ${expected.name} is missing: another admission webhook took it away`);
    else {
      const field = found.length > 1 ? 'name' : differenceOf(expected, actual);
      if (field !== undefined)
        problems.push(
          `container ${expected.name}: ${field} is not as injected: another admission webhook changed it`,
        );
    }
  }
  for (const expected of (wanted.pod.spec?.volumes ?? []).filter(({ name }) => OWN_VOLUMES.includes(name))) {
    const found = (pod.spec?.volumes ?? []).filter(({ name }) => name === expected.name);
    if (found.length !== 1 || !contains(found[0], expected))
      problems.push(`volume ${expected.name} is not as injected: another admission webhook changed it`);
  }
  const first = pod.spec?.initContainers?.[0]?.name;
  if (problems.length === 0 && first !== wanted.pod.spec?.initContainers?.[0]?.name)
    problems.push(
      `spec.initContainers[0]: ${first} would run before the connections are redirected; its webhook has to come first`,
    );
  return problems;
}

function sidecarsOfItsOwn(pod: Pod): string[] {
  return (['initContainers', 'containers'] as const).flatMap((list) =>
    (pod.spec?.[list] ?? []).flatMap(({ name }, index) =>
      OWN_CONTAINERS.includes(name)
        ? [
            `spec.${list}[${index}].name: ${name} is the injector's to add, and this pod has no label ${INJECT_LABEL}=true; set it, or give the container another name`,
          ]
        : [],
    ),
  );
}

/** Environment variables by which somebody else would steer the program. */
const STEERING = /^(NODE_|COUNTERSIGN_|LD_|OPENSSL_|SSL_)/;

function differenceOf(expected: Container, actual: Container): string | undefined {
  const { env = [], volumeMounts = [], resources: _, ...rest } = expected;
  for (const [field, value] of Object.entries(rest)) {
    if (!contains(actual[field as keyof Container], value)) return field;
  }
  // It would run in the sidecar, as its user.
  if (actual.lifecycle !== undefined) return 'lifecycle';
  if (!env.every((one) => actual.env?.some((other) => contains(other, one)))) return 'env';
  const added = actual.env?.find(({ name }) => STEERING.test(name) && !env.some((one) => one.name === name));
  if (added !== undefined || (actual.envFrom?.length ?? 0) > 0)
    return `env ${added?.name ?? 'from elsewhere'}`;
  if (!volumeMounts.every((one) => actual.volumeMounts?.some((other) => contains(other, one))))
    return 'volumeMounts';
  if (
    actual.securityContext?.capabilities?.add?.length !== expected.securityContext?.capabilities?.add?.length
  )
    return 'securityContext.capabilities.add';
  return undefined;
}

/** Whether all that `expected` says stands in `actual` too. Lists are equal only as a whole. */
function contains(actual: unknown, expected: unknown): boolean {
  if (typeof expected !== 'object' || expected === null) return actual === expected;
  if (typeof actual !== 'object' || actual === null) return false;
  if (Array.isArray(expected))
    return (
      Array.isArray(actual) &&
      actual.length === expected.length &&
      expected.every((one, index) => contains(actual[index], one))
    );
  return Object.entries(expected).every(([key, value]) =>
    contains((actual as Record<string, unknown>)[key], value),
  );
}
