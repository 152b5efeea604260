import type { FlowChange, ReachChanges } from './reach.ts';

/** The outcome of `policy diff OLD NEW`. */
export function diffText({ opens, closes, scope }: ReachChanges): string {
  return [
    opens.length === 0 ? 'opens nothing' : `opens ${flows(opens.length)}:`,
    ...opens.flatMap((one) => flowText('+', one)),
    closes.length === 0 ? 'closes nothing' : `closes ${flows(closes.length)}:`,
    ...closes.flatMap((one) => flowText('-', one)),
    scope,
  ].join('\n');
}

/** The outcome of `policy diff --enrol`. */
export function enrolmentText({ closes, scope }: ReachChanges, enrolled: readonly string[]): string {
  return [
    `enrolled: ${enrolled.slice(0, 5).join(', ')}${enrolled.length > 5 ? ` and ${enrolled.length - 5} more` : ''}; peers: not enrolled`,
    closes.length === 0
      ? 'no flow of today would be refused'
      : `${flows(closes.length)} of today would be refused:`,
    ...closes.flatMap((one) => flowText('-', one)),
    scope,
  ].join('\n');
}

function flowText(sign: string, { from, to, portsText, reason, endIsNew }: FlowChange): string[] {
  const only = endIsNew ? (sign === '+' ? ' (one end is new)' : ' (one end is gone)') : '';
  return [`  ${sign} ${from} -> ${to}  ${portsText}${only}`, `      ${reason}`];
}

function flows(count: number): string {
  return count === 1 ? '1 flow' : `${count} flows`;
}
