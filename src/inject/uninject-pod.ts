import type { Pod } from './pod.ts';
import { INJECT_LABEL, INJECTED_ANNOTATION, OWN_CONTAINERS, OWN_VOLUMES } from './names.ts';
import { restoreTcpProbes } from './probes.ts';

/** A pod without its sidecar, by names: whatever carries one of the sidecar's is taken off. The label stays. */
export function stripPod(pod: Pod): Pod {
  const { spec, metadata } = pod;
  if (spec === undefined) return pod;
  const { initContainers, volumes, ...rest } = spec;
  const others = (initContainers ?? []).filter(({ name }) => !OWN_CONTAINERS.includes(name));
  const kept = (volumes ?? []).filter(({ name }) => !OWN_VOLUMES.includes(name));
  return {
    ...pod,
    ...(metadata === undefined ? {} : { metadata: withoutKey(metadata, 'annotations', INJECTED_ANNOTATION) }),
    spec: {
      ...rest,
      containers: spec.containers.filter(({ name }) => !OWN_CONTAINERS.includes(name)).map(restoreTcpProbes),
      ...(others.length === 0 ? {} : { initContainers: others.map(restoreTcpProbes) }),
      ...(kept.length === 0 ? {} : { volumes: kept }),
    },
  };
}

/** A pod as if it had never asked for a sidecar. */
export function uninjectPod(pod: Pod): Pod {
  const bare = stripPod(pod);
  return bare.metadata === undefined
    ? bare
    : { ...bare, metadata: withoutKey(bare.metadata, 'labels', INJECT_LABEL) };
}

/** Metadata without one label or annotation; a map that is empty then goes too. */
function withoutKey(
  metadata: NonNullable<Pod['metadata']>,
  map: 'labels' | 'annotations',
  key: string,
): NonNullable<Pod['metadata']> {
  const { [map]: old, ...rest } = metadata;
  if (old === undefined) return metadata;
  const { [key]: _, ...left } = old;
  return Object.keys(left).length === 0 ? rest : { ...rest, [map]: left };
}
