import { Command } from 'commander';
import { diffCommand } from './policy-diff.ts';
import { explainCommand } from './policy-explain.ts';
import { lintCommand } from './policy-lint.ts';
import { matrixCommand } from './policy-matrix.ts';
import { verdictsCommand } from './policy-verdicts.ts';

/** `countersign policy explain|verdicts|matrix|diff|lint`. */
export function policyCommand(): Command {
  const policy = new Command('policy').description(
    'ask what NetworkPolicies allow, and why; offline, nothing needs to be installed',
  );
  for (const command of [explainCommand(), verdictsCommand(), matrixCommand(), diffCommand(), lintCommand()])
    policy.addCommand(command);
  return policy;
}
