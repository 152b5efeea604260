import type { LoadOrder } from './load-program.ts';
import type { LoadKind } from './result.ts';

/** How much a run does. */
export interface Plan {
  readonly rounds: number;
  /** No round begins later than this after the start of the run, in milliseconds. */
  readonly roundsUntilMs: number;
  readonly loads: readonly { readonly kind: LoadKind; readonly order: LoadOrder }[];
  /** More rounds of the loads that are the kernel's alone in NFQUEUE mode, with and without the mode: what is promised there is less than what two rounds differ by. */
  readonly kernelRounds: number;
  readonly farRounds: number;
  readonly far: LoadOrder;
  readonly firstContacts: number;
  readonly idleConnections: number;
  readonly starts: number;
  /** Milliseconds that the whole run may wait for neighbours. */
  readonly patienceMs: number;
}

const MANY = 1_000_000;
const CONCURRENCY = 32;

function loads(seconds: number): Plan['loads'] {
  return [
    { kind: 'bulk1', order: { kind: 'bulk', seconds, number: 1 } },
    { kind: 'bulk8', order: { kind: 'bulk', seconds, number: 8 } },
    { kind: 'ping', order: { kind: 'ping', seconds: seconds / 2, number: MANY } },
    { kind: 'connect', order: { kind: 'connect', seconds: seconds / 2, number: MANY } },
    { kind: 'rate', order: { kind: 'rate', seconds, number: CONCURRENCY } },
  ];
}

/** Twelve minutes. */
export const FULL: Plan = {
  rounds: 7,
  roundsUntilMs: 9 * 60_000,
  loads: loads(1),
  kernelRounds: 16,
  farRounds: 3,
  far: { kind: 'connect', seconds: 3, number: 20 },
  firstContacts: 40,
  idleConnections: 10_000,
  starts: 10,
  patienceMs: 90_000,
};

/** A minute and a half. */
export const QUICK: Plan = {
  rounds: 2,
  roundsUntilMs: 60_000,
  loads: loads(0.3),
  kernelRounds: 2,
  farRounds: 1,
  far: { kind: 'connect', seconds: 2, number: 8 },
  firstContacts: 5,
  idleConnections: 2_000,
  starts: 3,
  patienceMs: 5_000,
};

/** Values in an order that shifts by one each round, so that nobody always comes first, or after the same one. */
export function inTurn<T>(values: readonly T[], round: number): T[] {
  const shift = values.length === 0 ? 0 : round % values.length;
  return [...values.slice(shift), ...values.slice(0, shift)];
}
