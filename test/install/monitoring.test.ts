import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { AUTHORITY_METRICS } from '../../src/authority/metric-list.ts';
import { ALERT_NAMES, alertRules } from '../../src/install/alert-rules.ts';
import { dashboard, dashboardExpressions } from '../../src/install/dashboard.ts';
import { INJECTOR_METRICS } from '../../src/injector/metric-list.ts';
import { type MetricDescription, METRICS } from '../../src/observe/metric-list.ts';

const root = join(import.meta.dirname, '../..');
const LISTS: readonly Readonly<Record<string, MetricDescription>>[] = [
  METRICS,
  AUTHORITY_METRICS,
  INJECTOR_METRICS,
];
const EXISTING = new Map(LISTS.flatMap((list) => Object.entries(list)));
/** What Prometheus adds when it scrapes. */
const SCRAPED = ['namespace', 'pod', 'container', 'le'];

/** What is wrong with an expression: metrics that nobody has, labels that they do not have, values that a label never takes. */
function faults(expr: string): string[] {
  const found: string[] = [];
  const labels = new Set(SCRAPED);
  const names = expr.match(/\b(?:countersign|process|nodejs)_[a-z_]+/g) ?? [];
  if (names.length === 0) found.push('no metric');
  for (const name of names) {
    const metric = EXISTING.get(name) ?? EXISTING.get(name.replace(/_(bucket|sum|count)$/, ''));
    if (metric === undefined) found.push(`no metric ${name}`);
    else if (/_bucket$/.test(name) !== (metric.type === 'histogram'))
      found.push(`${name} is a ${metric.type}`);
    for (const label of Object.keys(metric?.labels ?? {})) labels.add(label);
    if (metric?.type === 'counter' && !new RegExp(`(rate|increase)\\(${name}`).test(expr))
      found.push(`${name} without rate`);
  }
  for (const [, list = ''] of expr.matchAll(/\b(?:by|on) \(([^)]*)\)/g))
    for (const label of list.split(', ')) if (!labels.has(label)) found.push(`no label ${label}`);
  for (const [, label = '', operator = '', value = ''] of expr.matchAll(/(\w+)(=~?)"([^"]*)"/g)) {
    if (!labels.has(label)) found.push(`no label ${label}`);
    if (value === '$namespace' || operator === '=~') continue;
    const values = names.map((name) => EXISTING.get(name)?.labels[label]).find((one) => one !== undefined);
    if (Array.isArray(values) && !values.includes(value)) found.push(`${label} is never ${value}`);
  }
  return found;
}

t.test('dashboard: the check of expressions finds what does not exist', (t) => {
  t.strictSame(faults('sum(countersign_no_such)'), ['no metric countersign_no_such']);
  t.strictSame(faults('sum by (colour) (countersign_ready)'), ['no label colour']);
  t.strictSame(faults('rate(countersign_connections_total{verdict="perhaps"}[5m])'), [
    'verdict is never perhaps',
  ]);
  t.strictSame(faults('countersign_connections_total'), ['countersign_connections_total without rate']);
  t.strictSame(faults('countersign_handshake_seconds'), ['countersign_handshake_seconds is a histogram']);
  t.end();
});

t.test('dashboard: every expression asks for metrics, labels and values that exist', (t) => {
  for (const expr of dashboardExpressions()) t.strictSame(faults(expr), [], expr);
  t.ok(dashboardExpressions().length > 20);
  t.end();
});

t.test('alerts: every expression asks for metrics, labels and values that exist', (t) => {
  const rules = alertRules() as { alert: string; expr: string }[];
  t.ok(rules.length > 10);
  for (const { alert, expr } of rules) t.strictSame(faults(expr), [], alert);
  t.equal(new Set(ALERT_NAMES).size, rules.length);
  t.end();
});

t.test('dashboard: every label in a legend is one that its expression keeps', (t) => {
  const { panels } = dashboard() as { panels: { targets?: { expr: string; legendFormat: string }[] }[] };
  for (const { expr, legendFormat } of panels.flatMap(({ targets = [] }) => targets)) {
    const kept = / by \(([^)]*)\)/.exec(expr)?.[1]?.split(', ') ?? [];
    const plain = !/\b(sum|max|min|count|quantile)\b/.test(expr);
    for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
      t.ok(kept.includes(label) || (plain && SCRAPED.includes(label)), `${legendFormat} of ${expr}`);
  }
  t.end();
});

t.test('dashboard: panels have ids of their own and do not overlap', (t) => {
  const { panels } = dashboard() as {
    panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
  };
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, at) => `${x + (at % w)} ${y + Math.floor(at / w)}`),
  );
  t.equal(new Set(cells).size, cells.length);
  t.ok(panels.every(({ gridPos: { x, w } }) => x + w <= 24));
  t.end();
});

t.test('runbook: every alert has a section, under the address that it names', (t) => {
  const text = readFileSync(join(root, 'docs/runbook.md'), 'utf8');
  const sections = [...text.matchAll(/^## (\w+)\n\n([\s\S]*?)(?=^## |(?![\s\S]))/gm)];
  t.strictSame(
    sections.map(([, name = '']) => name).toSorted((a, b) => (a < b ? -1 : 1)),
    [...ALERT_NAMES].toSorted((a, b) => (a < b ? -1 : 1)),
  );
  for (const [, name, body = ''] of sections)
    for (const part of ['**Means.**', '**Breaks.**', '**Look.**', '**Do.**'])
      t.ok(body.includes(part), `${name} ${part}`);
  interface Rule {
    readonly alert: string;
    readonly annotations: Readonly<Record<string, string>>;
  }
  for (const { alert, annotations } of alertRules() as Rule[]) {
    t.equal(annotations['runbook'], `docs/runbook.md#${alert.toLowerCase()}`);
    t.notOk('runbook_url' in annotations, 'no address that a browser could not open');
  }
  for (const { alert, annotations } of alertRules('https://wiki.test/countersign/runbook') as Rule[]) {
    t.equal(annotations['runbook_url'], `https://wiki.test/countersign/runbook#${alert.toLowerCase()}`);
    t.notOk('runbook' in annotations);
  }
  t.end();
});

t.test('runbook: links from the dashboard lead to sections that are there', (t) => {
  const text = JSON.stringify(dashboard());
  const anchors = [...text.matchAll(/#(countersign\w+)/g)].map(([, anchor = '']) => anchor);
  t.ok(anchors.length >= 6);
  for (const anchor of anchors)
    t.ok(
      ALERT_NAMES.some((name) => name.toLowerCase() === anchor),
      anchor,
    );
  t.end();
});
