import type { PeerIdentity } from '../handshake/credentials.ts';
import type { Labels } from '../policy/model.ts';

/** A peer that proved who it is, with what records and policy need of its identity. */
export interface ProvenPeer extends PeerIdentity {
  readonly namespace: string;
  readonly podName: string;
  readonly labels: Labels;
  readonly namespaceLabels: Labels;
  /** Of the key that signed its token, and when (seconds since the epoch): what a later loss of trust is about. */
  readonly issuerKeyId: string;
  readonly issuedAt: number;
  /** Its proof says names and no labels: those are what the source has of this very pod, and without them there is nothing to judge. */
  readonly namesOnly?: { readonly serviceAccount: string };
  /** The other trust domain that it is of; undefined: it is of the own one. Uid and name of the key are qualified by it. */
  readonly foreignDomain?: string;
}
