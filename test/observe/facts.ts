import type { GaugeReadings } from '../../src/observe/metrics.ts';
import type { FlowFacts } from '../../src/proxy/flow.ts';
import type { Judgement } from '../../src/proxy/judgement.ts';

/** A proven call of shop/web to shop/db. */
export const FACTS: FlowFacts = {
  direction: 'inbound',
  peer: 'proven',
  handshake: 'full',
  source: { namespace: 'shop', pod: 'web-1', address: '10.0.0.1', port: 40_000 },
  destination: { namespace: 'shop', pod: 'db-0', address: '10.0.0.2', port: 5432 },
};

export const ALLOWED: Judgement = {
  verdict: 'allow',
  reason: 'policy-allowed',
  policy: 'networkpolicy/shop/db-allow',
  rule: 1,
};

export const DENIED: Judgement = {
  verdict: 'deny',
  reason: 'policy-denied',
  policy: 'networkpolicy/shop/db-allow',
  rule: 2,
  detail: 'rule 2 of networkpolicy/shop/db-allow would match if the peer had app=api; it has app=web',
};

export const ENDING = { bytesIn: 1_200, bytesOut: 34_000, durationMs: 12.3456 };

export const READINGS: GaugeReadings = {
  openInbound: 3,
  openOutbound: 4,
  halfOpen: 5,
  limit: 1_000,
  beyondLimit: { all: { inbound: 1, outbound: 2 }, source: { inbound: 3, outbound: 4 } },
  pipesRefused: 6,
  identityExpiresAt: 1_800_000_000,
  snapshotTakenAt: Date.now() - 60_000,
  sourceConfirmedAt: Date.now() - 30_000,
  snapshotVersion: 7,
  sourceProblems: 2,
  audit: true,
  ready: false,
  redirect: [
    { family: 4, direction: 'inbound', inForce: true },
    { family: 6, direction: 'outbound', inForce: false },
  ],
};
