import type { ServiceEndpoint, ServicePort } from './directory.ts';

/**
 * Picks an endpoint as kube-proxy would: ready ones; where none is ready, those that still serve while they end (KEP-1669); with
 * `internalTrafficPolicy: Local` only those of the own node. With client affinity the same client gets the same endpoint as
 * long as it is there.
 * @param among the endpoints that may be picked, of this service
 * @param random from 0 to 1, evenly; for affinity a number that stays the same for the client
 */
export function chooseEndpoint(
  service: ServicePort,
  among: readonly ServiceEndpoint[],
  ownNode: string | undefined,
  random: number,
): ServiceEndpoint | undefined {
  const near = service.localTraffic ? among.filter((endpoint) => endpoint.nodeName === ownNode) : among;
  const ready = near.filter((endpoint) => endpoint.ready);
  const usable = ready.length > 0 ? ready : near.filter((endpoint) => endpoint.servingWhileTerminating);
  return usable[Math.min(usable.length - 1, Math.floor(random * usable.length))];
}
