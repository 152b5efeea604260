import type { Labels } from '../policy/model.ts';
import type { EnforcementMode } from './source.ts';

/** Where a mode may be written: annotation or label of a pod or of its namespace. */
export const MODE_KEY = 'countersign.io/mode';

/** On a namespace: what its pods may ask for, separated by commas. `docs/injection.md` lists the words. */
export const GRANTS_ANNOTATION = 'countersign.io/grants';

interface Marked {
  readonly annotations: Labels;
  readonly labels: Labels;
}

export interface FoundMode {
  readonly mode: EnforcementMode;
  /** What is odd about the marks. */
  readonly problem: string | undefined;
}

/**
 * The mode of a pod: its own mark, else its namespace's, else that of the process. A mark that is neither word means `enforce`: whoever
 * misspells it must not find the pod watched and open. Its own `audit` counts as long as its namespace grants it: injection asks for that once, and
 * marks of a pod that lives can be changed by whoever may change the pod.
 */
export function enforcementMode(
  pod: Marked,
  namespace: Marked | undefined,
  processMode: EnforcementMode,
): FoundMode {
  const ungranted = markOf(pod) === 'audit' && !grantsAudit(namespace);
  const problem = ungranted
    ? `${MODE_KEY} is audit, which its namespace does not grant by ${GRANTS_ANNOTATION}=audit; it does not count`
    : undefined;
  for (const marked of ungranted ? [namespace] : [pod, namespace]) {
    const mark = markOf(marked);
    if (mark === 'audit' || mark === 'enforce') return { mode: mark, problem };
    if (mark !== undefined) return { mode: 'enforce', problem: misspelt(mark) };
  }
  return { mode: processMode, problem };
}

function markOf(marked: Marked | undefined): string | undefined {
  return marked?.annotations[MODE_KEY] ?? marked?.labels[MODE_KEY];
}

function grantsAudit(namespace: Marked | undefined): boolean {
  const words = namespace?.annotations[GRANTS_ANNOTATION]?.split(',') ?? [];
  return words.some((word) => word.trim() === 'audit');
}

function misspelt(mark: string): string {
  return `${MODE_KEY} is ${JSON.stringify(mark.slice(0, 60))}, neither audit nor enforce; it counts as enforce`;
}
