import type { Container, Pod, SecurityContext, Volume } from './pod.ts';
import {
  INBOUND_FILTER_PROBE_PORT,
  INBOUND_PORT,
  METRICS_PORT,
  OUTBOUND_FILTER_PROBE_PORT,
  OUTBOUND_PORT,
  REDIRECT_PROBE_PORT,
} from '../redirect/ports.ts';
import type { Grant } from './grants.ts';
import { reachesSidecars } from './host-paths.ts';
import { INJECTED_ANNOTATION, OWN_CONTAINERS, OWN_VOLUMES, RESERVED_LABEL_PREFIX } from './names.ts';
import type { InjectSettings } from './settings.ts';

/** Capabilities with which a container takes the redirection away, or takes over the proxy. */
const DANGEROUS = [
  'ALL',
  'NET_ADMIN',
  'NET_RAW',
  'SYS_ADMIN',
  'SYS_PTRACE',
  'SYS_MODULE',
  'SYS_RAWIO',
  'DAC_READ_SEARCH',
  'PERFMON',
  'BPF',
];
const OWN_PORTS = [
  OUTBOUND_PORT,
  INBOUND_PORT,
  METRICS_PORT,
  REDIRECT_PROBE_PORT,
  INBOUND_FILTER_PROBE_PORT,
  OUTBOUND_FILTER_PROBE_PORT,
];
/** Containers of other meshes, by the names they are injected under. */
const MESHES: ReadonlyMap<string, string> = new Map([
  ['istio-proxy', 'Istio'],
  ['istio-init', 'Istio'],
  ['linkerd-proxy', 'Linkerd'],
  ['linkerd-init', 'Linkerd'],
  ['consul-dataplane', 'Consul'],
  ['kuma-sidecar', 'Kuma'],
]);

const REMEDY = 'remove it, or have the owner of the namespace grant «privileged» (docs/injection.md)';

/** A container as the rules here look at it: ephemeral ones too. */
export type AnyContainer = Pick<Container, 'name' | 'securityContext' | 'volumeMounts' | 'ports'>;

/**
 * Why a pod cannot be protected as it is: every way round the sidecar that a pod's author could write into it. Each problem names the field and
 * what to change. The sidecar's own parts must have been taken off before, if the pod was injected already.
 */
export function refusalsOf(pod: Pod, settings: InjectSettings, grants: ReadonlySet<Grant>): string[] {
  const spec = pod.spec;
  const problems: string[] = [];
  for (const label of Object.keys(pod.metadata?.labels ?? {})) {
    if (label.startsWith(RESERVED_LABEL_PREFIX))
      problems.push(
        `metadata.labels[${label}]: labels under ${RESERVED_LABEL_PREFIX} are the authority's to give; remove it`,
      );
  }
  if (spec?.shareProcessNamespace === true)
    problems.push('spec.shareProcessNamespace: true lets every container reach into the proxy; remove it');
  if (spec?.hostPID === true)
    problems.push('spec.hostPID: true lets the pod reach into every proxy of the node; remove it');
  const { proxyUid } = settings;
  const podContext = spec?.securityContext;
  if (podContext?.runAsUser === proxyUid)
    problems.push(uidProblem('spec.securityContext.runAsUser', proxyUid));
  if (podContext?.runAsGroup === proxyUid)
    problems.push(gidProblem('spec.securityContext.runAsGroup', proxyUid));
  if (podContext?.fsGroup === proxyUid) problems.push(gidProblem('spec.securityContext.fsGroup', proxyUid));
  if (podContext?.supplementalGroups?.includes(proxyUid) === true)
    problems.push(gidProblem('spec.securityContext.supplementalGroups', proxyUid));
  for (const list of ['initContainers', 'containers'] as const) {
    spec?.[list]?.forEach((container, index) => {
      problems.push(...containerRefusals(container, `spec.${list}[${index}]`, settings, grants));
    });
  }
  spec?.volumes?.forEach((volume, index) =>
    problems.push(...volumeRefusals(volume, `spec.volumes[${index}]`, settings, grants)),
  );
  return problems;
}

/** The same for one container; `at` is its place, for the text. Also for ephemeral containers, which join a running pod. */
export function containerRefusals(
  container: AnyContainer,
  at: string,
  settings: InjectSettings,
  grants: ReadonlySet<Grant>,
): string[] {
  const problems: string[] = [];
  const mesh = MESHES.get(container.name);
  if (mesh !== undefined)
    problems.push(
      `${at}.name: ${container.name} is ${mesh}'s: two proxies cannot both have a pod's connections; take the pod out of one of them`,
    );
  if (OWN_CONTAINERS.includes(container.name))
    problems.push(
      `${at}.name: ${container.name} is a name of the sidecar's own; give the container another name`,
    );
  problems.push(
    ...contextRefusals(container.securityContext, `${at}.securityContext`, settings.proxyUid, grants),
  );
  container.volumeMounts?.forEach(({ name }, index) => {
    if (OWN_VOLUMES.includes(name))
      problems.push(
        `${at}.volumeMounts[${index}]: ${name} holds the sidecar's keys and token; mount another volume`,
      );
  });
  container.ports?.forEach(({ containerPort, protocol }, index) => {
    if ((protocol ?? 'TCP') === 'TCP' && OWN_PORTS.includes(containerPort))
      problems.push(
        `${at}.ports[${index}].containerPort: ${containerPort} is the sidecar's own; use another port`,
      );
  });
  return problems;
}

function contextRefusals(
  context: SecurityContext | undefined,
  at: string,
  proxyUid: number,
  grants: ReadonlySet<Grant>,
): string[] {
  const problems: string[] = [];
  if (context?.runAsUser === proxyUid) problems.push(uidProblem(`${at}.runAsUser`, proxyUid));
  if (context?.runAsGroup === proxyUid) problems.push(gidProblem(`${at}.runAsGroup`, proxyUid));
  if (grants.has('privileged')) return problems;
  if (context?.privileged === true)
    problems.push(`${at}.privileged: true can take the redirection away; ${REMEDY}`);
  for (const capability of context?.capabilities?.add ?? []) {
    if (DANGEROUS.includes(capability.toUpperCase().replace(/^CAP_/, '')))
      problems.push(
        `${at}.capabilities.add: ${capability} can take the redirection away or go round it; ${REMEDY}`,
      );
  }
  return problems;
}

function volumeRefusals(
  volume: Volume,
  at: string,
  settings: InjectSettings,
  grants: ReadonlySet<Grant>,
): string[] {
  if (OWN_VOLUMES.includes(volume.name))
    return [`${at}.name: ${volume.name} is a name of the sidecar's own; give the volume another name`];
  const { path } = volume.hostPath ?? {};
  if (path !== undefined && !grants.has('privileged') && reachesSidecars(path))
    return [
      `${at}.hostPath.path: ${path} holds the files of other pods, sidecars among them, or the way to their runtime; ${REMEDY}`,
    ];
  const token = volume.projected?.sources?.some(
    ({ serviceAccountToken }) => serviceAccountToken?.audience === settings.audience,
  );
  return token === true
    ? [
        `${at}.projected: a token for ${settings.audience} would let another container take the pod's identity; remove it`,
      ]
    : [];
}

/** Names of the sidecar's own in a pod that no injector has marked: somebody wrote them by hand. */
export function claimsOwnNames(pod: Pod): boolean {
  const { spec, metadata } = pod;
  const containers = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
  return (
    metadata?.annotations?.[INJECTED_ANNOTATION] === undefined &&
    (containers.some(({ name }) => OWN_CONTAINERS.includes(name)) ||
      (spec?.volumes ?? []).some(({ name }) => OWN_VOLUMES.includes(name)))
  );
}

function uidProblem(field: string, uid: number): string {
  return `${field}: ${uid} is the proxy's user, whose connections are not redirected; run as another user`;
}

function gidProblem(field: string, gid: number): string {
  return `${field}: ${gid} is the proxy's group, which may read its keys; use another group`;
}
