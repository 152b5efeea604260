import type { PeerIdentity } from '../handshake/credentials.ts';
import type { Labels } from '../policy/model.ts';

/** A peer that proved who it is, with what records and policy need of its identity. */
export interface ProvenPeer extends PeerIdentity {
  readonly namespace: string;
  readonly podName: string;
  readonly labels: Labels;
  readonly namespaceLabels: Labels;
}
