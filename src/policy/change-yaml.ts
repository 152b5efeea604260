import type { AddedRule } from './changes.ts';
import type { LabelSelector, NetworkPolicy, PolicyPeer, PolicyRule } from './model.ts';

/** A rule in the API's own shape, as it is written under `spec.ingress` or `spec.egress`. */
export function apiRule(rule: PolicyRule, direction: AddedRule['direction']): Record<string, unknown> {
  const { peers, ports } = rule;
  const peersField = direction === 'ingress' ? 'from' : 'to';
  return {
    ...(peers === undefined ? {} : { [peersField]: peers.map(apiPeer) }),
    ...(ports === undefined
      ? {}
      : {
          ports: ports.map(({ protocol, port, endPort }) => ({
            ...(protocol === 'TCP' ? {} : { protocol }),
            ...(port === undefined ? {} : { port }),
            ...(endPort === undefined ? {} : { endPort }),
          })),
        }),
  };
}

/** A policy's spec in the API's own shape. */
export function apiSpec(policy: NetworkPolicy): Record<string, unknown> {
  const { podSelector, policyTypes, ingress, egress } = policy;
  return {
    podSelector: apiSelector(podSelector),
    policyTypes,
    ...(ingress.length === 0 ? {} : { ingress: ingress.map((rule) => apiRule(rule, 'ingress')) }),
    ...(egress.length === 0 ? {} : { egress: egress.map((rule) => apiRule(rule, 'egress')) }),
  };
}

function apiPeer(peer: PolicyPeer): Record<string, unknown> {
  if (peer.kind === 'block') {
    const { cidr, except } = peer;
    return { ipBlock: except.length === 0 ? { cidr } : { cidr, except } };
  }
  const { podSelector, namespaceSelector } = peer;
  return {
    ...(namespaceSelector === undefined ? {} : { namespaceSelector: apiSelector(namespaceSelector) }),
    ...(podSelector === undefined ? {} : { podSelector: apiSelector(podSelector) }),
  };
}

function apiSelector({ matchLabels, matchExpressions }: LabelSelector): Record<string, unknown> {
  return {
    ...(Object.keys(matchLabels).length === 0 ? {} : { matchLabels }),
    ...(matchExpressions.length === 0 ? {} : { matchExpressions }),
  };
}

/** A value as YAML on one line, `{from: [{podSelector: {matchLabels: {app: web}}}]}`: what JSON would be, less the quotes that YAML can do without. */
export function flowYaml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flowYaml).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).map(([key, one]) => `${scalar(key)}: ${flowYaml(one)}`);
    return `{${fields.join(', ')}}`;
  }
  return typeof value === 'string' ? scalar(value) : JSON.stringify(value);
}

/** Words that YAML 1.1 or 1.2 take for something other than a text. */
const NOT_TEXT = /^(true|false|yes|no|on|off|y|n|null|nan|inf)$/i;

function scalar(text: string): string {
  return /^[A-Za-z][-A-Za-z0-9_./]*$/.test(text) && !NOT_TEXT.test(text) ? text : JSON.stringify(text);
}
