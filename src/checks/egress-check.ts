import { AUTHORITY, PORTS } from '../install/options.ts';
import { Judge, type Party, type PodParty, type Side } from '../policy/judge.ts';
import { Ends } from '../workloads/ends.ts';
import { takeInventory } from '../workloads/inventory.ts';
import { enrollingNamespaces, someOf } from './enrolled.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';
import type { Finding } from './finding.ts';

/** The pods that answer DNS in nearly every cluster: kubeadm, k3s, EKS, GKE and AKS all label them so. */
const DNS_LABELS = { 'k8s-app': 'kube-dns' };

/** What the network must let a sidecar reach, and by which rule. */
const NEEDS = [
  { what: 'the authority', protocol: 'TCP', port: PORTS.authority },
  { what: 'DNS', protocol: 'UDP', port: 53 },
] as const;

/**
 * Finds pods whose NetworkPolicies cut their sidecar off the authority or off DNS, where the network plugin enforces them: the sidecar dials from the pod's
 * address like everybody in the pod. Judged by the engine that the proxy runs. The policy that it prints selects exactly the pods that are isolated already,
 * so that applying it isolates nobody.
 */
export function checkEgress(facts: ClusterFacts, settings: CheckSettings): Finding[] {
  const { namespaces, pods, policies } = facts;
  if (namespaces === undefined || pods === undefined || policies === undefined) return [];
  const enrolling = enrollingNamespaces(facts, settings);
  const authority = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: settings.namespace,
      name: AUTHORITY,
      labels: { 'app.kubernetes.io/name': AUTHORITY, 'app.kubernetes.io/part-of': 'countersign' },
    },
    spec: { containers: [{ name: AUTHORITY, image: 'x' }] },
  };
  const own = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: settings.namespace, labels: { 'kubernetes.io/metadata.name': settings.namespace } },
  };
  const objects = [
    ...(namespaces.some(({ metadata }) => metadata.name === settings.namespace) ? [] : [own]),
    ...namespaces.map((one) => ({ apiVersion: 'v1', kind: 'Namespace', ...one })),
    ...pods.map((one) => ({ apiVersion: 'v1', kind: 'Pod', ...one })),
    ...policies,
    authority,
  ];
  const inventory = takeInventory(objects.map((value) => ({ value })));
  const ends = new Ends(inventory);
  const judge = new Judge(inventory.policies, inventory.clusterPolicies);
  const dns = inventory.workloads
    .filter(({ namespace, labels }) => namespace === 'kube-system' && contains(labels, DNS_LABELS))
    .map((one) => ends.of(one));
  const targets: readonly (readonly Party[])[] = [[ends.named(`${settings.namespace}/${AUTHORITY}`)!], dns];
  const findings: Finding[] = [];
  for (const namespace of enrolling) {
    const cut: { pod: PodParty; what: string; side: Side & { kind: 'denied' } }[] = [];
    for (const workload of inventory.workloads) {
      if (workload.namespace !== namespace || workload.finished || workload.hostNetwork) continue;
      const pod = ends.of(workload);
      if (pod.kind !== 'pod') continue;
      NEEDS.forEach(({ what, protocol, port }, index) => {
        const sides = targets[index]!.map((to) => judge.judge({ from: pod, to, protocol, port }).egress);
        const denied = sides.find((side) => side.kind === 'denied');
        if (denied?.kind === 'denied' && sides.every((side) => side.kind === 'denied'))
          cut.push({ pod, what, side: denied });
      });
    }
    findings.push(...findingsOf(namespace, cut, policies, settings));
  }
  return findings;
}

type Cut = { readonly pod: PodParty; readonly what: string; readonly side: Side & { kind: 'denied' } };

function findingsOf(
  namespace: string,
  cut: readonly Cut[],
  policies: readonly object[],
  settings: CheckSettings,
): Finding[] {
  const findings: Finding[] = [];
  const byCluster = cut.filter(({ side }) => side.deniedBy !== undefined);
  const byNamespace = cut.filter(({ side }) => side.deniedBy === undefined);
  for (const denier of new Set(byCluster.map(({ side }) => side.deniedBy!.policy))) {
    const mine = byCluster.filter(({ side }) => side.deniedBy!.policy === denier);
    findings.push({
      level: 'error',
      check: 'egress',
      object: `namespace/${namespace}`,
      text: `${denier} cuts sidecars of ${podsOf(mine)} off ${whatOf(mine)}`,
      remedy: `its owner has to add, before the rule that denies, one that accepts egress to pods ${AUTHORITY} of ${settings.namespace} on TCP ${PORTS.authority}, and to DNS`,
    });
  }
  const isolating = new Set(byNamespace.flatMap(({ side }) => side.policies));
  const selectors = new Map<string, unknown>();
  for (const policy of policies as readonly PolicyObject[]) {
    if (policy.kind !== 'NetworkPolicy' || policy.metadata?.namespace !== namespace) continue;
    if (!isolating.has(`networkpolicy/${namespace}/${policy.metadata.name}`)) continue;
    const selector = policy.spec?.podSelector ?? {};
    selectors.set(JSON.stringify(selector), selector);
  }
  let index = 0;
  for (const selector of selectors.values()) {
    index++;
    findings.push({
      level: 'error',
      check: 'egress',
      object: `namespace/${namespace}`,
      text: `${[...isolating].toSorted().join(', ')} cuts sidecars of ${podsOf(byNamespace)} off ${whatOf(byNamespace)}, where the network plugin enforces it: they would never be ready`,
      remedy:
        'apply this policy beside it; it selects the pods that are isolated already, so it isolates nobody',
      apply: remedyPolicy(namespace, index, selector, settings.namespace),
    });
  }
  return findings;
}

interface PolicyObject {
  readonly kind?: string;
  readonly metadata?: { readonly namespace?: string; readonly name?: string };
  readonly spec?: { readonly podSelector?: unknown };
}

function remedyPolicy(namespace: string, index: number, podSelector: unknown, installed: string): object {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `countersign-sidecars${index === 1 ? '' : `-${index}`}`, namespace },
    spec: {
      podSelector,
      policyTypes: ['Egress'],
      egress: [
        {
          to: [
            {
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': installed } },
              podSelector: { matchLabels: { 'app.kubernetes.io/name': AUTHORITY } },
            },
          ],
          ports: [{ protocol: 'TCP', port: PORTS.authority }],
        },
        {
          to: [
            {
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
              podSelector: { matchLabels: DNS_LABELS },
            },
          ],
          ports: [
            { protocol: 'UDP', port: 53 },
            { protocol: 'TCP', port: 53 },
          ],
        },
      ],
    },
  };
}

function podsOf(cut: readonly Cut[]): string {
  return someOf([...new Set(cut.map(({ pod }) => pod.name))].toSorted());
}

function whatOf(cut: readonly Cut[]): string {
  return [...new Set(cut.map(({ what }) => what))].join(' and ');
}

function contains(
  labels: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(wanted).every(([key, value]) => labels[key] === value);
}
