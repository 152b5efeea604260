import {
  checkKubernetesVersion,
  checkNetworkPlugin,
  checkNodes,
  checkRights,
  checkWebhookReach,
} from './cluster-checks.ts';
import { checkInjection, checkWholePods } from './dry-run-check.ts';
import { checkEgress } from './egress-check.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';
import { type Finding, sortFindings } from './finding.ts';
import { checkControlPlane, checkCopies, checkWebhooks } from './installed-checks.ts';
import {
  checkCapabilityGrants,
  checkNamedNamespaces,
  checkNamespaceWords,
  checkPodSecurity,
  checkQuotas,
} from './namespace-checks.ts';
import { checkOtherMeshes } from './other-meshes.ts';
import { checkSidecars } from './sidecar-checks.ts';

type Check = (facts: ClusterFacts, settings: CheckSettings) => readonly Finding[];

/** Before and after alike: what the cluster does to pods with sidecars. */
const ALWAYS: readonly Check[] = [
  checkKubernetesVersion,
  checkNamedNamespaces,
  checkPodSecurity,
  checkQuotas,
  checkNamespaceWords,
  checkCapabilityGrants,
  checkEgress,
  checkOtherMeshes,
  checkNetworkPlugin,
];
const BEFORE: readonly Check[] = [checkRights, checkNodes, checkWebhookReach, checkWholePods];
const AFTER: readonly Check[] = [
  checkControlPlane,
  checkWebhooks,
  checkCopies,
  checkSidecars,
  checkInjection,
];

/** All findings, worst first. What could not be seen is a note: nothing is concluded from it. */
export function runChecks(facts: ClusterFacts, settings: CheckSettings, pre: boolean): Finding[] {
  const checks = [...ALWAYS, ...(pre ? BEFORE : AFTER)];
  const unseen = facts.unseen.map(({ what, why }): Finding => ({
    level: 'note',
    check: 'not-seen',
    object: what,
    text: `it could not be looked at: ${why}`,
    remedy: 'ask somebody with the right to, or pass over it',
  }));
  return sortFindings([...checks.flatMap((check) => check(facts, settings)), ...unseen]);
}
