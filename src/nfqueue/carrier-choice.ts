import type { Endpoint } from '../lib/address.ts';
import type { ServicePort } from '../peers/directory.ts';
import { METRICS_PORT } from '../redirect/ports.ts';
import type { Judgement } from '../proxy/judgement.ts';
import type { View } from '../proxy/view.ts';

/**
 * How a call of this pod goes. `syn`: the destination (every endpoint of it, for a Service) takes Hellos in SYNs, and its address is allowed.
 * `refused`: policy denies it before anybody was asked. `stream`: everything else goes to the proxy's listener, which knows what to do about
 * peers that redirect, peers that are not enrolled, addresses that nobody knows yet, and a source that is not there yet.
 */
export type CarrierChoice =
  | { readonly kind: 'syn'; readonly judgement: Judgement; readonly toSelf: boolean }
  | { readonly kind: 'refused'; readonly judgement: Judgement }
  | { readonly kind: 'stream' };

const STREAM: CarrierChoice = { kind: 'stream' };

/** Chooses by what the source says; nothing that the network does is asked. */
export function chooseCarrier(view: View, original: Endpoint): CarrierChoice {
  const service = view.snapshot.directory.service(original.address, original.port);
  return service === undefined ? choiceAt(view, original) : serviceChoice(view, service);
}

function choiceAt(view: View, endpoint: Endpoint): CarrierChoice {
  const owner = view.snapshot.directory.owner(endpoint.address);
  if (owner.kind !== 'pod' || !owner.pod.enrolled || owner.pod.nfqueue !== true) return STREAM;
  if (endpoint.port === METRICS_PORT) return STREAM;
  const toSelf = view.isSelf(endpoint.address);
  const judgement = view.outboundUnproven(endpoint);
  return judgement.verdict === 'deny' && !toSelf
    ? { kind: 'refused', judgement }
    : { kind: 'syn', judgement, toSelf };
}

/** The network picks the endpoint, so all of them have to be such that it does not matter which. */
function serviceChoice(view: View, service: ServicePort): CarrierChoice {
  let chosen: CarrierChoice = STREAM;
  let toSelf = false;
  for (const { address, port } of service.endpoints) {
    const choice = choiceAt(view, { address, port });
    if (choice.kind !== 'syn') return STREAM;
    toSelf ||= choice.toSelf;
    chosen = { ...choice, toSelf };
  }
  return chosen;
}

/** The endpoint of what was dialled that a proven server is: itself, or the one of a Service that is this very pod. */
export function endpointOfServer(view: View, original: Endpoint, podUid: string): Endpoint | undefined {
  const { directory } = view.snapshot;
  const service = directory.service(original.address, original.port);
  if (service === undefined) return original;
  return service.endpoints.find(({ address }) => {
    const owner = directory.owner(address);
    return owner.kind === 'pod' && owner.pod.uid === podUid;
  });
}
