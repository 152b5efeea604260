import { stringify } from 'yaml';
import { printable } from '../lib/printable.ts';
import type { Finding } from './finding.ts';

/** Findings for the terminal: worst first, each with what to do, and objects ready to apply. */
export function findingsText(findings: readonly Finding[]): string {
  const lines: string[] = [];
  for (const { level, check, object, text, remedy, apply } of findings) {
    lines.push(
      `${level.padEnd(7)} ${check}: ${object === 'cluster' ? '' : `${printable(object, 300)}: `}${printable(text, 1_200)}`,
    );
    if (remedy !== undefined) lines.push(`        remedy: ${printable(remedy, 1_200)}`);
    if (apply !== undefined)
      lines.push(
        ...stringify(apply)
          .trimEnd()
          .split('\n')
          .map((line) => `          ${line}`),
      );
  }
  const count = (level: string): number => findings.filter((one) => one.level === level).length;
  const plural = (number: number, word: string): string => `${number} ${word}${number === 1 ? '' : 's'}`;
  lines.push(
    `${plural(count('error'), 'error')}, ${plural(count('warning'), 'warning')}, ${plural(count('note'), 'note')}, ${count('ok')} in order`,
  );
  return `${lines.join('\n')}\n`;
}
