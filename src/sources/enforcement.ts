import type { Labels } from '../policy/model.ts';
import type { EnforcementMode } from './source.ts';

/** Where a mode may be written: annotation or label of a pod or of its namespace. */
export const MODE_KEY = 'countersign.io/mode';

interface Marked {
  readonly annotations: Labels;
  readonly labels: Labels;
}

/**
 * The mode of a pod: its own mark, else its namespace's, else that of the process. A mark that is neither word means `enforce`: whoever
 * misspells it must not find the pod watched and open.
 */
export function enforcementMode(
  pod: Marked,
  namespace: Marked | undefined,
  processMode: EnforcementMode,
): { readonly mode: EnforcementMode; readonly misspelt: string | undefined } {
  for (const marked of [pod, namespace]) {
    const mark = marked?.annotations[MODE_KEY] ?? marked?.labels[MODE_KEY];
    if (mark === 'audit' || mark === 'enforce') return { mode: mark, misspelt: undefined };
    if (mark !== undefined) return { mode: 'enforce', misspelt: mark };
  }
  return { mode: processMode, misspelt: undefined };
}
