import type { Labels } from '../policy/model.ts';
import type { EnforcementMode } from './source.ts';

/** Where a mode may be written: annotation or label of a pod or of its namespace. */
export const MODE_KEY = 'countersign.io/mode';

interface Marked {
  readonly annotations: Labels;
  readonly labels: Labels;
}

/** The mode of a pod: its own mark, else its namespace's, else that of the process. What is neither word is passed over. */
export function enforcementMode(
  pod: Marked,
  namespace: Marked | undefined,
  processMode: EnforcementMode,
): EnforcementMode {
  for (const marked of [pod, namespace]) {
    const mode = marked?.annotations[MODE_KEY] ?? marked?.labels[MODE_KEY];
    if (mode === 'audit' || mode === 'enforce') return mode;
  }
  return processMode;
}
