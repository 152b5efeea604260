import type { Endpoint } from '../lib/address.ts';
import { METRICS_PORT } from '../redirect/ports.ts';
import type { Pod, ServiceEndpoint, ServicePort } from '../peers/directory.ts';
import type { PeerKind } from './flow.ts';
import { denied, type Judgement } from './judgement.ts';
import { unprovenKind, type View } from './view.ts';

/** Where an outbound connection goes, and how. `unknown`: inside the pod network and nobody knows it, so ask again in a moment. */
export type Target =
  | { readonly kind: 'self'; readonly endpoint: Endpoint }
  | {
      readonly kind: 'enrolled';
      readonly endpoint: Endpoint;
      readonly pod: Pod;
      readonly judgement: Judgement;
    }
  | {
      readonly kind: 'plain';
      readonly endpoint: Endpoint;
      readonly peer: PeerKind;
      readonly pod: Pod | undefined;
      readonly judgement: Judgement;
    }
  /** In the networks of another trust domain. Nobody knows who is there: policy is asked when that has proven itself. */
  | { readonly kind: 'foreign'; readonly endpoint: Endpoint; readonly domain: string }
  | { readonly kind: 'refused'; readonly judgement: Judgement }
  | { readonly kind: 'unknown' };

/** Picks one of several endpoints of a Service, by readiness, locality and affinity. */
export type ChooseEndpoint = (
  service: ServicePort,
  among: readonly ServiceEndpoint[],
) => ServiceEndpoint | undefined;

/** Those between which connections to a Service are spread evenly: one of them where the client's affinity says which. */
export type CandidatesOf = (
  service: ServicePort,
  among: readonly ServiceEndpoint[],
) => readonly ServiceEndpoint[];

/**
 * Decides where a call to `original` goes. A Service address is resolved here and not by the network as soon as one endpoint speaks the
 * preamble: session, policy (target ports!) and proof are about a pod. Otherwise the address is dialled as it stands, if every
 * endpoint that the network could pick may be reached.
 */
export function chooseTarget(view: View, original: Endpoint, choose: ChooseEndpoint): Target {
  const service = view.snapshot.directory.service(original.address, original.port);
  return service === undefined ? targetAt(view, original) : serviceTarget(view, original, service, choose);
}

/** The endpoints of a Service address between which {@link chooseTarget} picks, as long as nothing changes; undefined: it is none's. */
export function candidatesAt(
  view: View,
  original: Endpoint,
  candidatesOf: CandidatesOf,
): readonly Endpoint[] | undefined {
  const service = view.snapshot.directory.service(original.address, original.port);
  if (service === undefined) return undefined;
  const reachable = service.endpoints.filter(({ address, port }) =>
    isAllowed(targetAt(view, { address, port })),
  );
  return candidatesOf(service, reachable);
}

function serviceTarget(view: View, original: Endpoint, service: ServicePort, choose: ChooseEndpoint): Target {
  const targets = new Map(
    service.endpoints.map((endpoint) => [
      endpoint,
      targetAt(view, { address: endpoint.address, port: endpoint.port }),
    ]),
  );
  const reachable = service.endpoints.filter((endpoint) => isAllowed(targets.get(endpoint)!));
  const mixed = [...targets.values()].some(({ kind }) => kind !== 'plain' && kind !== 'unknown');
  if (!mixed && reachable.length === service.endpoints.length) {
    const any = choose(service, reachable);
    const target = any && targets.get(any);
    if (target?.kind === 'plain') return { ...target, endpoint: original };
  }
  const chosen = choose(service, reachable) ?? choose(service, service.endpoints);
  if (chosen !== undefined) return targets.get(chosen)!;
  const name = `${service.namespace}/${service.service}`;
  return { kind: 'refused', judgement: denied('no-endpoint', 'enforce', { detail: `Service ${name}` }) };
}

function isAllowed(target: Target): boolean {
  if (target.kind === 'self' || target.kind === 'foreign') return true;
  return (target.kind === 'enrolled' || target.kind === 'plain') && target.judgement.verdict !== 'deny';
}

function targetAt(view: View, endpoint: Endpoint): Target {
  if (view.isSelf(endpoint.address)) return { kind: 'self', endpoint };
  const owner = view.owner(endpoint.address);
  if (owner.kind === 'unknown') return { kind: 'unknown' };
  // Never in plain, whatever the port: nobody there is known to have another one.
  if (owner.kind === 'foreign') return { kind: 'foreign', endpoint, domain: owner.domain };
  const judgement = view.outboundUnproven(endpoint);
  // The metrics of a sidecar are its own answer and no preamble is spoken there: redirection leaves that port alone.
  if (owner.kind === 'pod' && owner.pod.enrolled && endpoint.port !== METRICS_PORT) {
    return { kind: 'enrolled', endpoint, pod: owner.pod, judgement };
  }
  return {
    kind: 'plain',
    endpoint,
    peer: unprovenKind(owner),
    pod: owner.kind === 'pod' ? owner.pod : undefined,
    judgement,
  };
}
