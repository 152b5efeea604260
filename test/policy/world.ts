import type { PolicyPod } from '../../src/policy/compile.ts';
import { decodeNetworkPolicy } from '../../src/policy/decode.ts';
import type { Evaluate, NamedPort } from '../../src/policy/evaluate.ts';
import type { Labels, NetworkPolicy, Protocol } from '../../src/policy/model.ts';

/** A pod of the small cluster that the conformance cases are about. */
export interface WorldPod extends PolicyPod {
  /** `x/a`. */
  readonly id: string;
  readonly name: string;
  readonly namespaceLabels: Labels;
  readonly address: string;
  readonly address6: string;
  readonly namedPorts: readonly NamedPort[];
}

export const PORTS = [80, 81] as const;
export const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];

/**
 * Nine pods: a, b and c in each of the namespaces x, y and z. Pods carry `pod=<name>`, namespaces `ns=<name>`; each serves 80
 * and 81 on all protocols under the names `serve-80-tcp` and so on, and x/a calls its 81 `web`, where the others say so of 80.
 */
export const WORLD: readonly WorldPod[] = ['x', 'y', 'z'].flatMap((namespace, n) =>
  ['a', 'b', 'c'].map((name, p) => ({
    id: `${namespace}/${name}`,
    namespace,
    name,
    labels: { pod: name },
    namespaceLabels: { ns: namespace, 'kubernetes.io/metadata.name': namespace },
    address: `10.0.${n}.${p + 1}`,
    address6: `fd00:0:0:${n}::${p + 1}`,
    namedPorts: [
      ...PORTS.flatMap((port) =>
        PROTOCOLS.map((protocol) => ({
          name: `serve-${port}-${protocol.toLowerCase()}`,
          port,
          protocol,
        })),
      ),
      { name: 'web', port: namespace === 'x' && name === 'a' ? 81 : 80, protocol: 'TCP' as const },
    ],
  })),
);

/** A policy from its spec, refused loudly when it is not lawful. */
export function policyOf(namespace: string, name: string, spec: unknown): NetworkPolicy {
  const decoded = decodeNetworkPolicy({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name },
    spec,
  });
  if ('problems' in decoded) throw new Error(JSON.stringify(decoded.problems));
  return decoded.policy;
}

/** Both ends of a call between two pods that prove who they are. */
export function callAllowed(
  engines: ReadonlyMap<string, Evaluate>,
  from: WorldPod,
  to: WorldPod,
  protocol: Protocol,
  port: number,
  family: 4 | 6 = 4,
): boolean {
  const facts = (pod: WorldPod) => ({
    kind: 'proven' as const,
    address: family === 4 ? pod.address : pod.address6,
    namespace: pod.namespace,
    labels: pod.labels,
    namespaceLabels: pod.namespaceLabels,
  });
  const { namedPorts } = to;
  return (
    engines.get(from.id)!.evaluate({ direction: 'outbound', peer: facts(to), protocol, port, namedPorts })
      .allow &&
    engines.get(to.id)!.evaluate({ direction: 'inbound', peer: facts(from), protocol, port }).allow
  );
}
