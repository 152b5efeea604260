import type { Endpoint } from '../lib/address.ts';
import { type Carrier, MAC_BYTES, type Wishes } from './frame-types.ts';
import { encodeFrame, helloAdmissionInput, helloBinderInput } from './frames.ts';
import { CONTEXT, mac } from './key-schedule.ts';

export interface HelloFacts {
  readonly wishes: Wishes;
  readonly carrier: Carrier;
  readonly nonce: Uint8Array;
  readonly ephemeral: Uint8Array;
  /** What the client meant to reach, before any address translation. */
  readonly destination: Endpoint;
  readonly cookie: Uint8Array;
  readonly token: Uint8Array;
  readonly offers: readonly {
    readonly session: { readonly id: Uint8Array; readonly clientKey: Uint8Array };
    readonly counter: bigint;
  }[];
  readonly admissionKey: Uint8Array;
}

/** A whole Hello: binders are MACs of what precedes them, the admission MAC covers everything. */
export function buildHello(facts: HelloFacts): Uint8Array {
  const blank = new Uint8Array(MAC_BYTES);
  const bytes = encodeFrame({
    type: 'hello',
    wishes: facts.wishes,
    carrier: facts.carrier,
    nonce: facts.nonce,
    ephemeral: facts.ephemeral,
    destination: facts.destination,
    cookie: facts.cookie,
    token: facts.token,
    offers: facts.offers.map(({ session, counter }) => ({ sessionId: session.id, counter })),
    binders: facts.offers.map(() => blank),
    admission: blank,
  });
  const bound = helloBinderInput(bytes, facts.offers.length);
  const binders = facts.offers.map(({ session }) => mac(session.clientKey, CONTEXT.binder, [bound]));
  for (const [index, binder] of binders.entries()) bytes.set(binder, bound.length + index * MAC_BYTES);
  const admitted = helloAdmissionInput(bytes);
  bytes.set(mac(facts.admissionKey, CONTEXT.admission, [admitted]), admitted.length);
  return bytes;
}
