import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { type MetricDescription, METRICS } from '../../src/observe/metric-list.ts';
import { CONDITIONS } from '../../src/observe/readiness.ts';
import { ALL_REASONS } from '../../src/observe/reasons.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/observability.md'), 'utf8');
const metrics: Record<string, MetricDescription> = METRICS;
const names = [...page.matchAll(/\b(?:countersign|process|nodejs)_[a-z_]+\b/g)].map(([name]) => name);
const selectors = [...page.matchAll(/\b(countersign_[a-z_]+)\{([^}]*)\}/g)];

t.test('observability page: every metric that it names is exposed', (t) => {
  t.ok(names.length > 20, 'the page names metrics');
  for (const name of new Set(names)) {
    t.ok(Object.hasOwn(metrics, name) || Object.hasOwn(metrics, name.replace(/_bucket$/, '')), name);
  }
  t.end();
});

t.test('observability page: every label and value in an expression can occur', (t) => {
  const matchers = selectors.flatMap(([, name = '', inner = '']) =>
    [...inner.matchAll(/([a-z]+)(=~?)"([^"]+)"/g)].map(([, label = '', operator, text = '']) => ({
      name,
      label,
      operator,
      text,
    })),
  );
  t.ok(matchers.length > 8, 'the page has expressions');
  for (const { name, label, operator, text } of matchers) {
    const values = metrics[name]?.labels[label] ?? [];
    const wanted = operator === '=~' ? text.split('|') : [text];
    for (const one of wanted) {
      const pattern = new RegExp(`^(?:${one})$`);
      t.ok(
        [values].flat().some((value) => pattern.test(value)),
        `${name}{${label}="${one}"}`,
      );
    }
  }
  t.end();
});

t.test('observability page: the alerts are rules that Prometheus can read', (t) => {
  const [, block = ''] = /```yaml\n([^]*?)```/.exec(page) ?? [];
  const { groups } = parse(block) as { groups: { rules: { alert: string; expr: string; for?: string }[] }[] };
  const rules = groups.flatMap((group) => group.rules);
  t.ok(rules.length > 5);
  t.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  for (const rule of rules) {
    t.match(rule, { alert: /^Countersign[A-Za-z]+$/, expr: /(countersign|process|nodejs)_/ });
    const count = (brackets: RegExp): number => rule.expr.match(brackets)?.length ?? 0;
    t.equal(count(/[([{]/g), count(/[)\]}]/g), rule.alert);
  }
  t.end();
});

t.test(
  'observability page: every condition of readiness is explained, and reasons that it names exist',
  (t) => {
    for (const condition of CONDITIONS) t.match(page, `| \`${condition}\``);
    for (const reason of [
      'not-ready',
      'identity-unavailable',
      'token-expired',
      'token-not-yet-valid',
    ] as const) {
      t.ok(page.includes(`\`${reason}\``) && ALL_REASONS.includes(reason), reason);
    }
    t.end();
  },
);
