import { UserError } from '../errors.ts';
import type { LabelRequirement, LabelSelector } from '../policy/model.ts';
import { labelKeyFault, labelValueFault } from '../policy/syntax.ts';

const TERM =
  /^\s*(?:(?<absent>!)\s*(?<absentKey>[^\s=!,()]+)|(?<key>[^\s=!,()]+)(?:\s*(?<equal>==?|!=)\s*(?<value>[^\s=!,()]*)|\s+(?<set>in|notin)\s*\((?<values>[^()]*)\))?)\s*$/;

/**
 * Reads a selector as kubectl's `-l` takes it: `app=web,tier in (a,b),!legacy`.
 * @throws UserError naming the flag
 */
export function parseSelector(text: string, flag: string): LabelSelector {
  const matchExpressions = text.split(/,(?![^(]*\))/).map((term) => {
    const groups = TERM.exec(term)?.groups;
    if (groups === undefined)
      throw new UserError(
        `${flag} ${text}: «${term.trim()}» is no selector; write app=web, app!=web, app, !app or app in (a,b)`,
      );
    const requirement = requirementOf(groups);
    const faults = [labelKeyFault(requirement.key), ...requirement.values.map(labelValueFault)];
    const fault = faults.find((one) => one !== undefined);
    if (fault !== undefined) throw new UserError(`${flag} ${text}: in «${term.trim()}» ${fault}`);
    return requirement;
  });
  return { matchLabels: {}, matchExpressions };
}

function requirementOf(groups: Record<string, string | undefined>): LabelRequirement {
  const key = groups['key'] ?? groups['absentKey'] ?? '';
  if (groups['absent'] !== undefined) return { key, operator: 'DoesNotExist', values: [] };
  if (groups['equal'] !== undefined) {
    return { key, operator: groups['equal'] === '!=' ? 'NotIn' : 'In', values: [groups['value'] ?? ''] };
  }
  if (groups['set'] === undefined) return { key, operator: 'Exists', values: [] };
  const values = (groups['values'] ?? '').split(',').map((one) => one.trim());
  return { key, operator: groups['set'] === 'in' ? 'In' : 'NotIn', values };
}
