import { decodeNetworkPolicy } from '../policy/decode.ts';
import type { NetworkPolicy } from '../policy/model.ts';

/** What stands for a NetworkPolicy that cannot be read. `anywhere`: not even its namespace can. */
export interface StandIn {
  readonly policy: NetworkPolicy;
  readonly anywhere: boolean;
}

/**
 * A policy in place of one that cannot be read and never could: it isolates the pods that it selects in both directions and allows nothing. A selector
 * that cannot be read selects the whole namespace. In a cluster the API server would not have taken the object; in a folder it is there, and
 * somebody relies on it.
 * @returns undefined for anything that does not say that it is a NetworkPolicy
 */
export function standInFor(value: unknown): StandIn | undefined {
  const { apiVersion, kind, metadata, spec } = fieldsOf(value);
  if (kind !== 'NetworkPolicy' || !ofNetworking(apiVersion)) return undefined;
  const { namespace, name } = fieldsOf(metadata);
  const { podSelector } = fieldsOf(spec);
  const usableName = typeof name === 'string' && name !== '' ? { name } : { name: 'unreadable' };
  const place = namespace === undefined || namespace === null ? {} : { namespace };
  for (const tried of [
    { metadata: { ...usableName, ...place }, podSelector },
    { metadata: { ...usableName, ...place }, podSelector: {} },
    { metadata: { name: 'unreadable', ...place }, podSelector: {} },
    { metadata: { name: 'unreadable' }, podSelector: {} },
  ]) {
    const decoded = decodeNetworkPolicy({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: tried.metadata,
      spec: { podSelector: tried.podSelector, policyTypes: ['Ingress', 'Egress'] },
    });
    if ('policy' in decoded) {
      return { policy: decoded.policy, anywhere: 'namespace' in place && !('namespace' in tried.metadata) };
    }
  }
  return undefined;
}

/** Whether a NetworkPolicy of this version is the API's own: other projects have kinds of that name. */
export function ofNetworking(apiVersion: unknown): boolean {
  return typeof apiVersion !== 'string' || /^(networking\.k8s\.io|extensions)\/|^[^/]*$/.test(apiVersion);
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
