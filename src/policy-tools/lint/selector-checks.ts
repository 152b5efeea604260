import type { LabelSelector } from '../../policy/model.ts';
import { peerText, selectorText } from '../../policy/rule-text.ts';
import { type Finding, type LintInput, policyName, rulesOf, someOf } from './finding.ts';
import { namedBy, selectedBy } from './matching.ts';

const RESERVED = 'identity.countersign.io/';

/** Policies that select no pod, and entries that name none. */
export function* selectsNothing({ inventory, pods }: LintInput): Generator<Finding> {
  // Policies without the workloads that they are for: nothing to compare with.
  if (pods.length === 0) return;
  for (const policy of inventory.policies) {
    if (selectedBy(policy, pods).length === 0) {
      const selector = selectorText(policy.podSelector);
      const there = pods.filter((pod) => pod.namespace === policy.namespace);
      yield {
        rule: 'selects-nothing',
        level: 'warning',
        object: policyName(policy),
        field: 'spec.podSelector',
        why: `no pod of namespace ${policy.namespace} has ${selector === '' ? 'been given here' : selector}: the policy protects nothing`,
        remedy:
          there.length === 0
            ? `no workload here is in namespace ${policy.namespace}: correct metadata.namespace, or add the workloads to the input`
            : `pods there have ${someOf([...new Set(there.map((pod) => labelsText(pod.labels)))])}: correct the selector or the labels`,
      };
    }
    for (const { direction, rule, field } of rulesOf(policy)) {
      for (const [index, peer] of (rule.peers ?? []).entries()) {
        if (peer.kind !== 'pods' || namedBy(peer, policy.namespace, pods, inventory).length > 0) continue;
        yield {
          rule: 'peer-selects-nothing',
          level: 'warning',
          object: policyName(policy),
          field: `${field}.${direction === 'ingress' ? 'from' : 'to'}[${index}]`,
          why: `there is no pod that it names: ${peerText(peer, policy.namespace)}`,
          remedy: nothingRemedy(peer, policy.namespace, { inventory, pods }),
        };
      }
    }
  }
}

/** Labels that Countersign reserves, and ones that mean something else to selectors than they seem to. */
export function* reservedLabels({ inventory, pods }: LintInput): Generator<Finding> {
  for (const policy of inventory.policies) {
    const selectors: [LabelSelector | undefined, string][] = [[policy.podSelector, 'spec.podSelector']];
    for (const { direction, rule, field } of rulesOf(policy)) {
      for (const [index, peer] of (rule.peers ?? []).entries()) {
        if (peer.kind === 'pods')
          selectors.push([
            peer.podSelector,
            `${field}.${direction === 'ingress' ? 'from' : 'to'}[${index}].podSelector`,
          ]);
      }
    }
    for (const [selector, field] of selectors) {
      for (const key of selector === undefined ? [] : keysOf(selector)) {
        const finding = reservedKey(key);
        if (finding !== undefined) yield { ...finding, object: policyName(policy), field };
      }
    }
  }
  for (const { namespace, name, labels } of pods) {
    for (const key of Object.keys(labels).filter((one) => one.startsWith(RESERVED))) {
      yield {
        rule: 'reserved-label',
        level: 'warning',
        object: `Pod ${namespace}/${name}`,
        field: `metadata.labels[${key}]`,
        why: `${RESERVED} is for what the authority itself attests: it drops the label`,
        remedy: 'use a label of your own',
      };
    }
  }
}

function reservedKey(key: string): Pick<Finding, 'rule' | 'level' | 'why' | 'remedy'> | undefined {
  if (key.startsWith(RESERVED)) {
    return {
      rule: 'reserved-label',
      level: 'warning',
      why: `no pod carries ${key}, only proven identities do: a network plugin that enforces the same policy matches nothing`,
      remedy: 'leave this policy to Countersign, and let another one allow the flow in the network plugin',
    };
  }
  if (key === 'kubernetes.io/metadata.name') {
    return {
      rule: 'namespace-label-on-pods',
      level: 'warning',
      why: `${key} is a label of namespaces, and pods do not have it`,
      remedy: 'ask for it in a namespaceSelector',
    };
  }
  if (key === 'pod-template-hash' || key === 'controller-revision-hash') {
    return {
      rule: 'passing-label',
      level: 'warning',
      why: `${key} changes with every rollout: the policy will select nothing after the next one`,
      remedy: 'select by a label of the workload',
    };
  }
  return undefined;
}

function nothingRemedy(
  peer: Parameters<typeof namedBy>[0],
  namespace: string,
  { inventory, pods }: LintInput,
): string {
  const { podSelector, namespaceSelector } = peer;
  if (podSelector !== undefined && namespaceSelector === undefined) {
    const elsewhere = namedBy({ ...peer, namespaceSelector: EVERY }, namespace, pods, inventory);
    if (elsewhere.length > 0)
      return `a podSelector alone means the policy's own namespace, and such pods are in ${someOf([...new Set(elsewhere.map((pod) => pod.namespace))])}: add a namespaceSelector to the same entry`;
  }
  if (podSelector !== undefined && namespaceSelector !== undefined) {
    const anyPod = namedBy({ ...peer, podSelector: undefined }, namespace, pods, inventory);
    return anyPod.length === 0
      ? 'no namespace here matches the namespaceSelector: correct it, or label the namespace'
      : `pods of these namespaces have ${someOf([...new Set(anyPod.map((pod) => labelsText(pod.labels)))])}: correct the podSelector`;
  }
  return 'correct the selector, or add the workloads that it is for to the input';
}

const EVERY: LabelSelector = { matchLabels: {}, matchExpressions: [] };

function keysOf({ matchLabels, matchExpressions }: LabelSelector): string[] {
  return [...Object.keys(matchLabels), ...matchExpressions.map(({ key }) => key)];
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? 'no labels' : pairs.slice(0, 3).join(',');
}
