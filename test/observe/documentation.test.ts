import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type MetricDescription, METRICS } from '../../src/observe/metric-list.ts';
import { CONDITIONS } from '../../src/observe/readiness.ts';
import { ALL_REASONS } from '../../src/observe/reasons.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/observability.md'), 'utf8');
const metrics: Record<string, MetricDescription> = METRICS;
const names = [...page.matchAll(/\b(?:countersign|process|nodejs)_[a-z_]+\b/g)].map(([name]) => name);
const selectors = [...page.matchAll(/\b(countersign_[a-z_]+)\{([^}]*)\}/g)];

t.test('observability page: every metric that it names is exposed', (t) => {
  t.ok(names.length > 10, 'the page names metrics');
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
  t.ok(matchers.length > 4, 'the page has expressions');
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

t.test(
  'observability page: every condition of readiness is explained, and reasons that it names exist',
  (t) => {
    for (const condition of CONDITIONS) t.match(page, `| \`${condition}\``);
    for (const reason of ['not-ready', 'identity-unavailable'] as const) {
      t.ok(page.includes(`\`${reason}\``) && ALL_REASONS.includes(reason), reason);
    }
    t.end();
  },
);
