import type { Container, Pod } from './pod.ts';
import { decide } from './decision.ts';
import { grantsOf, wishesOf } from './grants.ts';
import { INJECT_LABEL, INJECTED_ANNOTATION } from './names.ts';
import { podSecurityProblems } from './pod-security.ts';
import { leadTcpProbes } from './probes.ts';
import { claimsOwnNames, refusalsOf } from './refusals.ts';
import type { InjectSettings } from './settings.ts';
import { initContainer, ownVolumes, proxyContainer } from './sidecar-parts.ts';
import { stripPod } from './uninject-pod.ts';

/** What is known of the namespace that a pod is in. */
export interface InjectNamespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export type Injection =
  | { readonly outcome: 'injected'; readonly pod: Pod }
  | { readonly outcome: 'skipped'; readonly reason: string }
  /** Each problem names a field and its remedy. */
  | { readonly outcome: 'refused'; readonly problems: readonly string[] };

/**
 * A pod with its sidecar. Deterministic, and idempotent: `inject(inject(pod))` is `inject(pod)`, whichever release injected it
 * before. A mark that says so is not believed: what carries the sidecar's names is taken off and put on anew.
 */
export function injectPod(
  pod: Pod,
  namespace: InjectNamespace,
  settings: InjectSettings,
  release: string,
): Injection {
  const decision = decide(pod, namespace);
  if (decision.inject === undefined) return { outcome: 'refused', problems: [decision.refusal] };
  if (!decision.inject) return { outcome: 'skipped', reason: decision.reason };
  const bare = claimsOwnNames(pod) ? pod : stripPod(pod);
  const { grants, problems } = grantsOf(namespace.annotations);
  const { wishes, problems: ungranted } = wishesOf(bare, grants);
  const all = [
    ...podSecurityProblems(namespace),
    ...problems,
    ...ungranted,
    ...refusalsOf(bare, settings, grants),
  ];
  if (all.length > 0) return { outcome: 'refused', problems: all };

  const led = (bare.spec?.containers ?? []).map(leadTcpProbes);
  // Init containers that stay are probed too (KEP-753).
  const ledInit = (bare.spec?.initContainers ?? []).map(leadTcpProbes);
  const tcpProbes = [...new Set([...led, ...ledInit].flatMap(({ ports }) => ports))].sort((a, b) => a - b);
  const containers = led.map(({ container }) => container);
  const own: Container[] = [initContainer(settings, wishes)];
  const proxy = proxyContainer(settings, wishes, tcpProbes);
  if (settings.classic) containers.push(proxy);
  else own.push(proxy);
  return {
    outcome: 'injected',
    pod: {
      ...bare,
      metadata: {
        ...bare.metadata,
        labels: { ...bare.metadata?.labels, [INJECT_LABEL]: 'true' },
        annotations: { ...bare.metadata?.annotations, [INJECTED_ANNOTATION]: release },
      },
      spec: {
        ...bare.spec,
        initContainers: [...own, ...ledInit.map(({ container }) => container)],
        containers,
        volumes: [...(bare.spec?.volumes ?? []), ...ownVolumes(settings)],
      },
    },
  };
}
