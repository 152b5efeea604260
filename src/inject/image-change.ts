import { OWN_CONTAINERS } from './names.ts';
import type { Container, Pod } from './pod.ts';
import type { InjectSettings } from './settings.ts';

/**
 * Why the image of sidecar or init step may not become another one in a pod that lives: of all that injection puts there it is what the API server
 * lets change, and another program would have the proxy's user and the pod's key. The installation's own image may come, and one that was there may stay.
 *
 * @param before the pod as it was
 */
export function imageChangeRefusals(pod: Pod, before: Pod | undefined, settings: InjectSettings): string[] {
  return (['initContainers', 'containers'] as const).flatMap((list) => {
    const known: readonly Container[] = before?.spec?.[list] ?? [];
    return (pod.spec?.[list] ?? []).flatMap(({ name, image }, index) => {
      if (!OWN_CONTAINERS.includes(name) || image === settings.image) return [];
      if (known.some((one) => one.name === name && one.image === image)) return [];
      return [
        `spec.${list}[${index}].image: ${name} runs the installation's image, ${settings.image}, or the one that it was made with; another one would hold the pod's key. Install the other release, and restart the workload`,
      ];
    });
  });
}
