import type { Finding } from './finding.ts';
import { LINT_RULES } from './lint.ts';

/** Findings for people. */
export function findingsText(findings: readonly Finding[]): string {
  if (findings.length === 0) return 'nothing to say';
  const count = (level: Finding['level']): string => {
    const number = findings.filter((one) => one.level === level).length;
    return `${number} ${level}${number === 1 ? '' : 's'}`;
  };
  return [
    ...findings.flatMap(({ rule, level, object, field, why, remedy, origin }) => [
      `${origin === undefined ? '' : `${origin.file}:${origin.line}: `}${level} [${rule}] ${object} ${field}`,
      `  ${why}`,
      `  remedy: ${remedy}`,
    ]),
    `${count('error')}, ${count('warning')}, ${count('note')}`,
  ].join('\n');
}

/** Findings as SARIF 2.1.0 (OASIS), which code reviews show at their lines. */
export function findingsSarif(findings: readonly Finding[]): Record<string, unknown> {
  const rules = [...new Set(findings.map(({ rule }) => rule))];
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'countersign policy lint',
            rules: rules.map((id) => ({ id, shortDescription: { text: LINT_RULES[id] ?? id } })),
          },
        },
        results: findings.map(({ rule, level, object, field, why, remedy, origin }) => ({
          ruleId: rule,
          ruleIndex: rules.indexOf(rule),
          level,
          message: { text: `${object} ${field}: ${why}. Remedy: ${remedy}.` },
          locations: [
            {
              ...(origin === undefined
                ? {}
                : {
                    physicalLocation: {
                      artifactLocation: { uri: uriOf(origin.file) },
                      region: { startLine: origin.line },
                    },
                  }),
              logicalLocations: [{ fullyQualifiedName: `${object} ${field}` }],
            },
          ],
        })),
      },
    ],
  };
}

function uriOf(file: string): string {
  return file.replace(/^\.\//, '').split('/').map(encodeURIComponent).join('/');
}
