import type { Decision } from '../policy/evaluate.ts';
import type { EnforcementMode } from '../sources/source.ts';
import type { DenyReason, Reason } from '../observe/reasons.ts';

/** What was decided about a connection, and by what. The one value from which record, metric and log line are made. */
export interface Judgement {
  readonly verdict: 'allow' | 'deny' | 'would_deny';
  readonly reason: Reason;
  /** `networkpolicy/shop/db-allow`: that allowed, or for a denial that came nearest to allowing. */
  readonly policy?: string;
  readonly rule?: number;
  /** What would have to be otherwise, or what exactly went wrong. For people. */
  readonly detail?: string;
}

/** Denials that audit mode only records: those of policy. A broken proof is refused in every mode. */
const AUDITED: ReadonlySet<DenyReason> = new Set([
  'policy-denied',
  'unproven-denied',
  'policy-changed',
  'address-unknown',
]);

/** The engine's decision as a judgement. `proven` tells the two reasons of a denial apart. */
export function judgementOf(decision: Decision, proven: boolean, mode: EnforcementMode): Judgement {
  if (decision.allow) {
    return decision.isolated
      ? { verdict: 'allow', reason: 'policy-allowed', policy: decision.policy, rule: decision.rule }
      : { verdict: 'allow', reason: 'not-isolated' };
  }
  const { deniedBy } = decision;
  const miss = deniedBy === undefined ? decision.nearestMiss : undefined;
  const policy = deniedBy?.policy ?? miss?.policy ?? decision.policies[0];
  return denied(proven ? 'policy-denied' : 'unproven-denied', mode, {
    ...(policy === undefined ? {} : { policy }),
    ...(deniedBy === undefined
      ? {}
      : { rule: deniedBy.rule, detail: `rule ${deniedBy.rule} of ${deniedBy.policy} denies it` }),
    ...(miss === undefined
      ? {}
      : { rule: miss.rule, detail: `rule ${miss.rule} of ${miss.policy} ${miss.text}` }),
  });
}

/** A denial, softened to `would_deny` where the mode says so. */
export function denied(
  reason: DenyReason,
  mode: EnforcementMode,
  facts: { policy?: string; rule?: number; detail?: string } = {},
): Judgement {
  return { verdict: mode === 'audit' && AUDITED.has(reason) ? 'would_deny' : 'deny', reason, ...facts };
}

/** An allowance without a rule. */
export function allowed(reason: 'self' | 'node-probe' | 'not-isolated'): Judgement {
  return { verdict: 'allow', reason };
}
