import { CAPABILITY_GRANTS, grantsOf } from '../inject/grants.ts';
import { INJECT_LABEL } from '../inject/names.ts';
import { enrollingNamespaces } from './enrolled.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';
import type { Finding } from './finding.ts';
import { quantity } from './quantity.ts';

const ENFORCE = 'pod-security.kubernetes.io/enforce';

/**
 * Pod Security: the init step needs NET_ADMIN and root, which `baseline` and `restricted` refuse (Pod Security Standards, "Capabilities"), as they do the
 * sidecar's own of NFQUEUE mode and kept source addresses. There is no exemption for a single pod: the level is the namespace's.
 */
export function checkPodSecurity(facts: ClusterFacts, settings: CheckSettings): Finding[] {
  const enrolling = enrollingNamespaces(facts, settings);
  return (facts.namespaces ?? []).flatMap(({ metadata: { name, labels } }): Finding[] => {
    const level = labels?.[ENFORCE];
    if (!enrolling.includes(name) || (level !== 'baseline' && level !== 'restricted')) return [];
    return [
      {
        level: 'error',
        check: 'pod-security',
        object: `namespace/${name}`,
        text: `it enforces ${level}, which refuses NET_ADMIN of the init step: no injected pod can be made there`,
        remedy: `kubectl label namespace ${name} --overwrite ${ENFORCE}=privileged pod-security.kubernetes.io/warn=${level} pod-security.kubernetes.io/audit=${level} (what keeps applications at ${level} then: docs/multi-tenancy.md)`,
      },
    ];
  });
}

/** What one more container asks for, by the resource names of quotas. */
function asked(settings: CheckSettings): readonly (readonly [readonly string[], string])[] {
  return [
    [['cpu', 'requests.cpu'], settings.cpuRequest],
    [['memory', 'requests.memory'], settings.memoryRequest],
    [['limits.memory'], settings.memoryLimit],
  ];
}

/** Quotas and limit ranges that would refuse pods with a sidecar. Quotas count what is asked for of all pods; a pod has one sidecar. */
export function checkQuotas(facts: ClusterFacts, settings: CheckSettings): Finding[] {
  const enrolling = enrollingNamespaces(facts, settings);
  const findings: Finding[] = [];
  for (const { metadata, status } of facts.quotas ?? []) {
    if (!enrolling.includes(metadata.namespace ?? '')) continue;
    const object = `resourcequota/${metadata.namespace}/${metadata.name}`;
    const pods = (facts.pods ?? []).filter((pod) => pod.metadata?.namespace === metadata.namespace).length;
    const { hard = {}, used = {} } = status ?? {};
    if (hard['limits.cpu'] !== undefined)
      findings.push({
        level: 'error',
        check: 'quota',
        object,
        text: 'it counts limits.cpu, so every container needs a CPU limit, and sidecars have none (a throttled sidecar delays every connection)',
        remedy: `take limits.cpu out of the quota, or have a LimitRange in ${metadata.namespace} that sets defaults.cpu for containers`,
      });
    for (const [names, each] of asked(settings)) {
      for (const name of names) {
        const [most, now, one] = [quantity(hard[name]), quantity(used[name]) ?? 0, quantity(each) ?? 0];
        const count = Math.max(1, pods);
        if (most === undefined || now + one * count <= most) continue;
        const level = now + one > most ? 'error' : 'warning';
        findings.push({
          level,
          check: 'quota',
          object,
          text: `${name}: ${used[name] ?? '0'} of ${hard[name]} are used; ${count} sidecar${count === 1 ? '' : 's'} would ask for ${each} each`,
          remedy:
            'raise the quota, or install with smaller --cpu-request, --memory-request or --memory-limit',
        });
      }
    }
  }
  for (const { metadata, spec } of facts.limitRanges ?? []) {
    if (!enrolling.includes(metadata.namespace ?? '')) continue;
    for (const limit of spec?.limits ?? []) {
      if (limit.type !== 'Container') continue;
      const problem = rangeProblem(limit.min, limit.max, settings);
      if (problem !== undefined)
        findings.push({
          level: 'error',
          check: 'limit-range',
          object: `limitrange/${metadata.namespace}/${metadata.name}`,
          text: problem,
          remedy:
            'change the LimitRange, or install with other --cpu-request, --memory-request or --memory-limit',
        });
    }
  }
  return findings;
}

function rangeProblem(
  min: Readonly<Record<string, string>> | undefined,
  max: Readonly<Record<string, string>> | undefined,
  { cpuRequest, memoryRequest, memoryLimit }: CheckSettings,
): string | undefined {
  const below = (value: string, least: string | undefined): boolean =>
    least !== undefined && quantity(value)! < (quantity(least) ?? 0);
  if (below(cpuRequest, min?.['cpu']))
    return `containers need at least ${min?.['cpu']} CPU; a sidecar asks for ${cpuRequest}`;
  if (below(memoryRequest, min?.['memory']))
    return `containers need at least ${min?.['memory']} memory; a sidecar asks for ${memoryRequest}`;
  const most = max?.['memory'];
  if (most !== undefined && quantity(memoryLimit)! > (quantity(most) ?? Infinity))
    return `containers may have ${most} memory at most; a sidecar's limit is ${memoryLimit}`;
  return undefined;
}

/** Namespaces where a pod may ask for a sidecar that keeps capabilities: who granted that should know what it is. */
export function checkCapabilityGrants(facts: ClusterFacts, settings: CheckSettings): Finding[] {
  const enrolling = enrollingNamespaces(facts, settings);
  return (facts.namespaces ?? []).flatMap(({ metadata: { name, labels, annotations } }): Finding[] => {
    const { grants } = grantsOf(annotations ?? {});
    const given = CAPABILITY_GRANTS.filter(({ grant }) => grants.has(grant));
    if (!enrolling.includes(name) || given.length === 0) return [];
    const told = ['warn', 'audit'].filter((mode) =>
      ['baseline', 'restricted'].includes(labels?.[`pod-security.kubernetes.io/${mode}`] ?? ''),
    );
    const named = told.length === 0 ? '' : `; Pod Security's ${told.join(' and ')} will name such sidecars`;
    return given.map(({ grant, capabilities }) => ({
      level: 'note',
      check: 'grants',
      object: `namespace/${name}`,
      text: `pods there may ask for ${grant}, whose sidecars keep ${capabilities.join(' and ')} of their pod's network for life${named}`,
      remedy: 'nothing, where that is meant; else take the word out (docs/injection.md says what it opens)',
    }));
  });
}

/** Words that somebody believes to have an effect, and that have none. */
export function checkNamespaceWords(facts: ClusterFacts, settings: CheckSettings): Finding[] {
  const enrolling = enrollingNamespaces(facts, settings);
  return (facts.namespaces ?? []).flatMap(({ metadata: { name, labels, annotations } }): Finding[] => {
    const object = `namespace/${name}`;
    const wish = labels?.[INJECT_LABEL];
    const findings: Finding[] = grantsOf(annotations ?? {}).problems.map((text) => ({
      level: 'error',
      check: 'grants',
      object,
      text: `${text}; pods there are refused`,
      remedy: 'correct the word, or take it out',
    }));
    if (wish !== undefined && wish !== 'true' && wish !== 'false')
      findings.push({
        level: 'error',
        check: 'label',
        object,
        text: `${INJECT_LABEL}=${JSON.stringify(wish)} is neither "true" nor "false": no pod can be made there`,
        remedy: `kubectl label namespace ${name} --overwrite ${INJECT_LABEL}=true`,
      });
    if (enrolling.includes(name) && labels?.['istio-injection'] === 'enabled')
      findings.push({
        level: 'error',
        check: 'mesh',
        object,
        text: 'it asks for sidecars of Istio and of Countersign: two proxies cannot both have a pod’s connections',
        remedy: `kubectl label namespace ${name} istio-injection-`,
      });
    if (enrolling.includes(name) && annotations?.['linkerd.io/inject'] === 'enabled')
      findings.push({
        level: 'error',
        check: 'mesh',
        object,
        text: 'it asks for sidecars of Linkerd and of Countersign: two proxies cannot both have a pod’s connections',
        remedy: `kubectl annotate namespace ${name} linkerd.io/inject-`,
      });
    return findings;
  });
}

/** Namespaces that are named to be enrolled and are not there: what is found of the others would be taken for all of them. */
export function checkNamedNamespaces({ namespaces }: ClusterFacts, { enrolling }: CheckSettings): Finding[] {
  if (namespaces === undefined) return [];
  const there = new Set(namespaces.map(({ metadata }) => metadata.name));
  return [...new Set(enrolling)]
    .filter((name) => !there.has(name))
    .map((name) => ({
      level: 'error',
      check: 'enroll',
      object: `namespace/${name}`,
      text: 'it is not there',
      remedy: `kubectl create namespace ${name}, or name another one with --enroll`,
    }));
}
