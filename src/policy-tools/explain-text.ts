import { apiRule, apiSpec, flowYaml } from '../policy/change-yaml.ts';
import type { AddedRule, Change } from '../policy/changes.ts';
import type { Explanation } from '../policy/explain.ts';
import type { Party, Question, Side } from '../policy/judge.ts';
import { clusterRuleText, findClusterRule } from '../policy/cluster-rule-text.ts';
import { findRule, ruleText } from '../policy/rule-text.ts';
import { endName } from './question.ts';

/** Lines of an answer, all told. */
const MOST_LINES = 12;
const MOST_POLICIES = 3;

/** The answer to one question in at most a dozen lines. */
export function explanationText(question: Question, explanation: Explanation): string {
  const { verdict, self, changes } = explanation;
  const [from, to] = [toldName(question.from), toldName(question.to)];
  const lines = [
    `${verdict.toUpperCase()}  ${from} -> ${to}  ${question.protocol} ${question.port}`,
    ...(self
      ? ['a pod may always call itself: no policy is asked']
      : [
          ...(foreignText(question.from, 'egress') ?? sideText(question, explanation.egress, 'egress', from)),
          ...(foreignText(question.to, 'ingress') ?? sideText(question, explanation.ingress, 'ingress', to)),
        ]),
  ];
  if (verdict === 'allow') return lines.join('\n');
  if (changes.length === 0) {
    lines.push(noChangeText(question, explanation));
    return lines.join('\n');
  }
  lines.push(`to allow it${changes.length > 1 ? ', one of' : ''}:`);
  for (const [index, change] of changes.entries()) {
    const [first, ...more] = changeText(change);
    const told = [`  ${index + 1}. ${first}`, ...more.map((line) => `     ${line}`)];
    if (lines.length + told.length > MOST_LINES) break;
    lines.push(...told);
  }
  return lines.join('\n');
}

/** The same as a value for `-o json`. */
export function explanationJson(question: Question, explanation: Explanation): Record<string, unknown> {
  const side = (value: Side, direction: 'ingress' | 'egress'): Record<string, unknown> => {
    const at =
      value.kind === 'allowed'
        ? value
        : value.kind === 'denied'
          ? (value.deniedBy ?? value.nearestMiss)
          : undefined;
    const rule = at === undefined ? undefined : written(question, direction, at.policy, at.rule);
    return { ...value, verdict: value.kind === 'denied' ? 'deny' : 'allow', ruleText: rule };
  };
  return {
    verdict: explanation.verdict,
    from: endName(question.from),
    to: endName(question.to),
    fromTrustDomain: trustDomainOf(question.from),
    toTrustDomain: trustDomainOf(question.to),
    protocol: question.protocol,
    port: question.port,
    self: explanation.self,
    egress: side(explanation.egress, 'egress'),
    ingress: side(explanation.ingress, 'ingress'),
    changes: explanation.changes.map((change) => ({
      ...change,
      ...(change.kind === 'add-rules' ? { rules: change.rules.map(ruleJson) } : {}),
      text: changeText(change).join(' '),
    })),
  };
}

function foreignText(end: Party, direction: 'ingress' | 'egress'): string[] | undefined {
  if (trustDomainOf(end) === undefined) return undefined;
  return [`${direction} of ${toldName(end)}: not asked here; the policies there decide it`];
}

function toldName(end: Party): string {
  const domain = trustDomainOf(end);
  return domain === undefined ? endName(end) : `${endName(end)} (of ${domain})`;
}

function trustDomainOf(end: Party): string | undefined {
  return end.kind === 'pod' ? end.foreignDomain : undefined;
}

function noChangeText(question: Question, { egress, ingress }: Explanation): string {
  const denials = [egress, ingress].flatMap((side) =>
    side.kind === 'denied' && side.deniedBy !== undefined ? [side.deniedBy.policy] : [],
  );
  if (denials.length === 0)
    return 'no small change allows it: an end without labels cannot be named; give it a label first';
  const policy = question.clusterPolicies?.find((one) => denials.includes(one.id) && one.tier === 'Admin');
  return policy === undefined
    ? 'a rule of the Baseline tier denies it: a NetworkPolicy that selects the pod and allows this call overrides it'
    : `no NetworkPolicy can allow it: the Admin tier decides before them; change ${policy.id}`;
}

function ruleJson({ policy, direction, rule, created }: AddedRule): Record<string, unknown> {
  if (created === undefined) return { policy, direction, rule: apiRule(rule, direction) };
  const { namespace, name } = created;
  const manifest = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name },
    spec: apiSpec(created),
  };
  return { policy, direction, created: manifest };
}

function sideText(question: Question, side: Side, direction: 'ingress' | 'egress', end: string): string[] {
  const head = `${direction} of ${end}:`;
  switch (side.kind) {
    case 'not-asked':
      return [`${head} allowed; it is no pod that NetworkPolicies select`];
    case 'own-node':
      return [`${head} allowed; the caller is the node that the pod runs on`];
    case 'not-isolated':
      return [`${head} allowed; no policy isolates it`];
    case 'allowed': {
      const rule = written(question, direction, side.policy, side.rule);
      return [`${head} allowed by ${side.policy} rule ${side.rule}`, `  rule ${side.rule}: ${rule}`];
    }
    case 'denied': {
      const { policies, nearestMiss, addressUnknown, deniedBy } = side;
      if (deniedBy !== undefined) {
        const { policy, rule } = deniedBy;
        return [
          `${head} DENIED by ${policy} rule ${rule}`,
          `  rule ${rule}: ${written(question, direction, policy, rule)}`,
        ];
      }
      const shown = policies.slice(0, MOST_POLICIES).join(', ');
      const more = policies.length > MOST_POLICIES ? ` and ${policies.length - MOST_POLICIES} more` : '';
      const unknown = addressUnknown
        ? ' (the other end has no address here, so no ipBlock could match it)'
        : '';
      const lines = [`${head} DENIED; isolated by ${shown}${more}${unknown}`];
      if (nearestMiss === undefined) return [...lines, '  these policies have no rule for it at all'];
      lines.push(`  rule ${nearestMiss.rule} of ${nearestMiss.policy} ${nearestMiss.text}`);
      lines.push(
        `  rule ${nearestMiss.rule}: ${written(question, direction, nearestMiss.policy, nearestMiss.rule)}`,
      );
      return lines;
    }
  }
}

function written(question: Question, direction: 'ingress' | 'egress', policy: string, rule: number): string {
  const ofCluster = findClusterRule(question.clusterPolicies ?? [], policy, direction, rule);
  if (ofCluster !== undefined) return clusterRuleText(ofCluster, direction);
  const found = findRule(question.policies, policy, direction, rule);
  return found === undefined ? '' : ruleText(found.rule, direction, found.policy.namespace);
}

function changeText(change: Change): string[] {
  if (change.kind === 'add-rules') {
    return change.rules.map(
      ({ policy, direction, rule, created }, index) =>
        `${index > 0 ? 'and ' : ''}${
          created === undefined
            ? `add to spec.${direction} of ${policy}: - ${flowYaml(apiRule(rule, direction))}`
            : `create ${policy} with spec: ${flowYaml(apiSpec(created))}`
        }`,
    );
  }
  const labels = Object.entries(change.labels)
    .map(([key, value]) => (value === undefined ? `without ${key}` : `${key}=${value}`))
    .join(', ');
  return [
    change.kind === 'label-pod'
      ? `label ${change.pod}${change.pod.split('/').length > 2 ? ' (in its pod template)' : ''}: ${labels}`
      : `label namespace ${change.namespace}: ${labels}`,
  ];
}
