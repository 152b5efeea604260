import type { ServiceEndpoint, ServicePort } from './directory.ts';

/**
 * The endpoints between which connections are spread, as kube-proxy has it (`CategorizeEndpoints` in pkg/proxy/topology.go): ready ones; where none is
 * ready, those that still serve while they end (KEP-1669); with `internalTrafficPolicy: Local` only those of the own node; else, where the control plane
 * gives every ready endpoint a hint, those that are meant for the own node or its zone (KEP-2433). With client affinity it is one: the same client gets
 * the same endpoint as long as it is there.
 * @param among the endpoints that may be picked, of this service
 * @param client from 0 to 1, evenly, and always the same for the client
 * @param failed endpoints that just failed: others are given, if there are any
 */
export function candidateEndpoints(
  service: ServicePort,
  among: readonly ServiceEndpoint[],
  ownNode: string | undefined,
  client: number,
  failed: readonly ServiceEndpoint[] = [],
): readonly ServiceEndpoint[] {
  const left = among.filter((endpoint) => !failed.some((one) => isSame(one, endpoint)));
  const eligible = eligibleEndpoints(service, left, ownNode);
  const usable = eligible.length > 0 ? eligible : eligibleEndpoints(service, among, ownNode);
  if (!service.clientIpAffinity) return usable;
  const one = mostWeight(usable, client);
  return one === undefined ? [] : [one];
}

/** One of the candidates. @param random from 0 to 1, evenly */
export function pickEvenly<T>(candidates: readonly T[], random: number): T | undefined {
  return candidates[Math.min(candidates.length - 1, Math.floor(random * candidates.length))];
}

function isSame(one: ServiceEndpoint, other: ServiceEndpoint): boolean {
  return one.address === other.address && one.port === other.port;
}

function eligibleEndpoints(
  { localTraffic }: ServicePort,
  among: readonly ServiceEndpoint[],
  ownNode: string | undefined,
): readonly ServiceEndpoint[] {
  const near = localTraffic
    ? among.filter((endpoint) => ownNode !== undefined && endpoint.nodeName === ownNode)
    : among;
  const ready = near.filter((endpoint) => endpoint.ready);
  if (ready.length === 0) return near.filter((endpoint) => endpoint.servingWhileTerminating);
  return localTraffic ? ready : hinted(ready, ownNode);
}

/** Hints count only if every endpoint has one and one is meant for us: half of them are left over from before. */
function hinted(ready: readonly ServiceEndpoint[], ownNode: string | undefined): readonly ServiceEndpoint[] {
  if (ownNode === undefined) return ready;
  for (const kind of ['nodes', 'zones'] as const) {
    if (
      !ready.every(({ hints }) =>
        kind === 'nodes' ? hints !== undefined && hints.nodes.size > 0 : hints?.zones,
      )
    )
      continue;
    const meant = ready.filter(({ hints }) => hints?.[kind]?.has(ownNode) === true);
    if (meant.length > 0) return meant;
  }
  return ready;
}

/**
 * Rendezvous hashing: of two endpoints the same one wins, whoever else comes or goes, so that a client keeps its endpoint when another one
 * is added.
 */
function mostWeight(endpoints: readonly ServiceEndpoint[], key: number): ServiceEndpoint | undefined {
  let best: ServiceEndpoint | undefined;
  let bestWeight = -1;
  for (const endpoint of endpoints) {
    const weight = fnv1a(`${key}|${endpoint.address}|${endpoint.port}`);
    if (weight > bestWeight) [best, bestWeight] = [endpoint, weight];
  }
  return best;
}

/** FNV-1a with the final mix of MurmurHash3: without it neighbouring addresses rank alike for every key. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
