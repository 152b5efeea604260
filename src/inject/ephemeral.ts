import type { Grant } from './grants.ts';
import { OWN_CONTAINERS } from './names.ts';
import type { Pod } from './pod.ts';
import { type AnyContainer, containerRefusals } from './refusals.ts';
import type { InjectSettings } from './settings.ts';

/**
 * Why ephemeral containers (`kubectl debug`) may not join a pod with a sidecar: they get what a container may have, and may not look
 * into the proxy. Those that are in the pod already are not asked again: the API server does not let them change.
 *
 * @param before the pod as it was, with the ephemeral containers that it had
 */
export function ephemeralRefusals(
  pod: Pod,
  before: Pod | undefined,
  settings: InjectSettings,
  grants: ReadonlySet<Grant>,
): string[] {
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
  if (!containers.some(({ name }) => OWN_CONTAINERS.includes(name))) return [];
  const known = new Set((before?.spec?.ephemeralContainers ?? []).map(({ name }) => name));
  return (pod.spec?.ephemeralContainers ?? []).flatMap((container, index) => {
    if (known.has(container.name)) return [];
    const at = `spec.ephemeralContainers[${index}]`;
    const problems = containerRefusals(container as AnyContainer, at, settings, grants);
    // kubectl's own default adds SYS_PTRACE.
    if (problems.some((problem) => problem.includes('capabilities.add')))
      problems.push('«kubectl debug --profile=baseline» asks for no capability');
    const target = container.targetContainerName;
    if (target !== undefined && OWN_CONTAINERS.includes(target))
      problems.push(
        `${at}.targetContainerName: ${target} holds the pod's key; «countersign status» and «countersign bug-report» tell what is in it`,
      );
    return problems;
  });
}
