import { isDeepStrictEqual } from 'node:util';
import type { NetworkPolicy, PolicyPeer, PolicyRule } from '../../policy/model.ts';
import { compilePorts } from '../../policy/ports.ts';
import { PROTOCOLS } from '../port-ranges.ts';
import { type Finding, type LintInput, policyName, rulesOf, someOf } from './finding.ts';
import { namedBy, selectedBy } from './matching.ts';

/** Rules that another rule of the same policy covers wholly: taking them away changes nothing. */
export function* coveredRules({ inventory }: LintInput): Generator<Finding> {
  for (const policy of inventory.policies) {
    for (const { direction, index, rule, field } of rulesOf(policy)) {
      const others = policy[direction];
      const covering = others.findIndex(
        (other, at) => at !== index && covers(other, rule) && (at < index || !covers(rule, other)),
      );
      if (covering < 0) continue;
      yield {
        rule: 'rule-never-matters',
        level: 'warning',
        object: policyName(policy),
        field,
        why: `rule ${index + 1} never matters: rule ${covering + 1} of the same policy allows all of it`,
        remedy:
          others[covering]!.peers === undefined
            ? `rule ${covering + 1} allows everybody; if that is not meant, correct it, else remove this one`
            : 'remove it',
      };
    }
  }
}

/** Named ports that none of the pods in question has. */
export function* unknownPortNames({ inventory, pods }: LintInput): Generator<Finding> {
  if (pods.length === 0) return;
  for (const policy of inventory.policies) {
    for (const { direction, rule, field } of rulesOf(policy)) {
      const targets =
        direction === 'ingress' ? selectedBy(policy, pods) : targetsOf(policy, rule, { inventory, pods });
      if (targets.length === 0) continue;
      for (const [index, { port, protocol }] of (rule.ports ?? []).entries()) {
        if (typeof port !== 'string') continue;
        const having = targets.filter((pod) =>
          pod.namedPorts.some((one) => one.name === port && one.protocol === protocol),
        );
        if (having.length > 0) continue;
        const names = [
          ...new Set(targets.flatMap((pod) => pod.namedPorts.map((one) => `${one.protocol} ${one.name}`))),
        ];
        yield {
          rule: 'port-name-unknown',
          level: 'warning',
          object: policyName(policy),
          field: `${field}.ports[${index}]`,
          why: `none of ${someOf(targets.map((pod) => `${pod.namespace}/${pod.name}`))} has a ${protocol} port named ${port}: the entry allows nothing`,
          remedy:
            names.length === 0
              ? `name the container port ${port}, or write its number here`
              : `they have ${someOf(names)}: correct the name, or write the number`,
        };
      }
    }
  }
}

function targetsOf(policy: NetworkPolicy, rule: PolicyRule, { inventory, pods }: LintInput) {
  if (rule.peers === undefined || rule.peers.length === 0) return [...pods];
  return rule.peers.flatMap((peer) =>
    peer.kind === 'pods' ? namedBy(peer, policy.namespace, pods, inventory) : [],
  );
}

/** Whether a rule allows all that another one allows, as far as that can be read off without knowing any pod. */
function covers(wide: PolicyRule, narrow: PolicyRule): boolean {
  return peersCover(wide.peers, narrow.peers) && portsCover(wide, narrow);
}

function peersCover(
  wide: readonly PolicyPeer[] | undefined,
  narrow: readonly PolicyPeer[] | undefined,
): boolean {
  if (wide === undefined || wide.length === 0) return true;
  if (narrow === undefined || narrow.length === 0) return false;
  return narrow.every((one) => wide.some((other) => isDeepStrictEqual(one, other)));
}

function portsCover(wide: PolicyRule, narrow: PolicyRule): boolean {
  const [outer, inner] = [compilePorts(wide.ports), compilePorts(narrow.ports)];
  if (outer.every) return true;
  if (inner.every) return false;
  const namesCovered = inner.names.every(({ name, protocol }) =>
    outer.names.some((one) => one.name === name && one.protocol === protocol),
  );
  return (
    namesCovered && PROTOCOLS.every((protocol) => rangesCover(outer.ranges[protocol], inner.ranges[protocol]))
  );
}

// Ranges of one rule are apart, so one range of the wide rule has to hold each of the narrow one.
function rangesCover(outer: readonly number[], inner: readonly number[]): boolean {
  for (let at = 0; at < inner.length; at += 2) {
    const [first, last] = [inner[at]!, inner[at + 1]!];
    let held = false;
    for (let index = 0; index < outer.length; index += 2) {
      held ||= outer[index]! <= first && last <= outer[index + 1]!;
    }
    if (!held) return false;
  }
  return true;
}
