import { parseAddress } from '../../lib/address.ts';
import { cidrContains, parseCidr } from '../../lib/cidr.ts';
import { compileSelector, selectorMatches } from '../../policy/selector.ts';
import type { Workload } from '../../workloads/workload.ts';
import { type Finding, type LintInput, policyName, rulesOf, someOf } from './finding.ts';

/** ipBlocks that hold addresses of pods or nodes: meant for what is outside, and network plugins differ about them. */
export function* blocksOverCluster({ inventory, pods }: LintInput): Generator<Finding> {
  const owners = [
    ...pods.flatMap((pod) =>
      pod.addresses.map((address) => [address, `pod ${pod.namespace}/${pod.name}`] as const),
    ),
    ...[...inventory.nodes.values()].flatMap((node) =>
      node.addresses.map((address) => [address, `node ${node.name}`] as const),
    ),
  ];
  for (const policy of inventory.policies) {
    for (const { direction, rule, field } of rulesOf(policy)) {
      for (const [index, peer] of (rule.peers ?? []).entries()) {
        if (peer.kind !== 'block') continue;
        const cidr = parseCidr(peer.cidr);
        const holes = peer.except.map(parseCidr);
        const inside = owners.filter(([text]) => {
          const address = parseAddress(text);
          if (cidr === undefined || address === undefined || !cidrContains(cidr, address)) return false;
          return !holes.some((hole) => hole !== undefined && cidrContains(hole, address));
        });
        if (inside.length === 0) continue;
        yield {
          rule: 'block-over-cluster',
          level: 'warning',
          object: policyName(policy),
          field: `${field}.${direction === 'ingress' ? 'from' : 'to'}[${index}].ipBlock`,
          why: `${peer.cidr} holds ${someOf(inside.map(([address, owner]) => `${address} of ${owner}`))}; Cilium and Terway (eBPF) do not match pods by ipBlock, others and Countersign do`,
          remedy: 'name pods by selectors; leave the addresses of pods and nodes out with except',
        };
      }
    }
  }
}

/** What a given network plugin does differently with a field. */
export function* pluginDifferences({ inventory }: LintInput): Generator<Finding> {
  for (const policy of inventory.policies) {
    const object = policyName(policy);
    for (const { rule, field } of rulesOf(policy)) {
      for (const [index, { endPort, protocol }] of (rule.ports ?? []).entries()) {
        if (endPort !== undefined) {
          yield {
            rule: 'plugin-end-port',
            level: 'note',
            object,
            field: `${field}.ports[${index}].endPort`,
            why: 'some releases of network plugins ignore endPort and allow the first port alone (Cilium issue 28684)',
            remedy: 'test the range with your plugin, or list the ports',
          };
        }
        if (protocol === 'SCTP') {
          yield {
            rule: 'plugin-sctp',
            level: 'note',
            object,
            field: `${field}.ports[${index}].protocol`,
            why: 'not every network plugin handles SCTP, and the proxy of Countersign carries TCP alone',
            remedy: 'make sure that your plugin supports SCTP',
          };
        }
      }
    }
  }
}

/** Pods in their node's network: the API leaves undefined what policies mean to them. */
export function* hostNetworkPods({ inventory }: LintInput): Generator<Finding> {
  const hosts = inventory.workloads.filter((one) => one.hostNetwork && !one.finished);
  for (const policy of inventory.policies) {
    const selector = compileSelector(policy.podSelector);
    const everyPod = selector.requirements.length === 0;
    const selected = hosts.filter(
      (one) => one.namespace === policy.namespace && selectorMatches(selector, one.labels),
    );
    if (selected.length === 0) continue;
    yield {
      rule: 'host-network',
      level: everyPod ? 'note' : 'warning',
      object: policyName(policy),
      field: 'spec.podSelector',
      why: `${someOf(selected.map(nameOf))} use the node's network: the API leaves undefined whether policies apply to them; most plugins, and Countersign, pass them over`,
      remedy: 'do not rely on the policy for them; take them off the node network if they need protection',
    };
  }
}

/** Named ports about which readers of the API disagree. */
export function* portNames({ inventory, pods }: LintInput): Generator<Finding> {
  const asked = new Set(
    inventory.policies.flatMap((policy) =>
      [...rulesOf(policy)].flatMap(({ rule }) =>
        (rule.ports ?? []).flatMap(({ port }) => (typeof port === 'string' ? [port] : [])),
      ),
    ),
  );
  for (const pod of pods) {
    for (const name of new Set(pod.namedPorts.map((one) => one.name))) {
      const same = pod.namedPorts.filter((one) => one.name === name);
      const tcp = same.filter((one) => one.protocol === same[0]!.protocol);
      if (!asked.has(name) || new Set(tcp.map((one) => one.port)).size < 2) continue;
      yield {
        rule: 'port-name-twice',
        level: 'warning',
        object: nameOf(pod),
        field: 'spec.containers',
        why: `${same[0]!.protocol} ports ${tcp.map((one) => one.port).join(' and ')} are both named ${name}: policies open all of them here, some plugins and Services the first only`,
        remedy: 'give each port a name of its own',
      };
    }
  }
}

function nameOf(pod: Workload): string {
  return `Pod ${pod.namespace}/${pod.name}`;
}
