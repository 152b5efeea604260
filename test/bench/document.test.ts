import t from 'tap';
import { chart } from '../../bench/chart.ts';
import { performancePage, terminalReport } from '../../bench/document.ts';
import { inTurn } from '../../bench/plan.ts';
import { asMarkdown, asText, mainTable, ratioTable } from '../../bench/tables.ts';
import { resultOf, sample } from './example.ts';

const measured = resultOf([
  sample('direct', 'bulk1', { bytes: 2e9 }),
  sample('haproxy', 'ping', { p50: 100 }),
  sample('countersign', 'bulk1', { bytes: 1e9, proxyCpu: 0.57 }),
  sample('countersign', 'ping', { p50: 120 }),
]);

t.test(
  'benchmark: the table has a row for each variant that was measured and a cell for each figure',
  (t) => {
    const [head, ...rows] = mainTable(measured);
    t.equal(head?.length, 8);
    t.strictSame(
      rows.map(([title]) => title),
      ['direct', 'HAProxy TCP', '**Countersign, redirect**'],
    );
    t.strictSame(rows[2]?.slice(0, 5), ['**Countersign, redirect**', '8', '', '0.57', '120']);
    t.strictSame(mainTable(resultOf([])).length, 1, 'nothing measured, no rows');
    t.strictSame(ratioTable(measured, 'direct')[1]?.slice(0, 2), ['**Countersign, redirect**', '0.5']);
    t.end();
  },
);

t.test('benchmark: a table is written for a terminal and for a page', (t) => {
  const table = [
    ['variant', 'x'],
    ['**ours**', '1'],
  ];
  t.equal(asText(table), 'variant  x\nours     1');
  t.equal(asMarkdown(table), '| variant  | x   |\n| -------- | --- |\n| **ours** | 1   |');
  t.end();
});

t.test('benchmark: the page says machine, versions, date and what was missed', (t) => {
  const page = performancePage(measured);
  for (const part of [
    'Example CPU',
    '6.1.0',
    '2026-02-03',
    '| HAProxy',
    '10 minutes',
    '4 of 4 samples were quiet',
  ]) {
    t.match(page, part);
  }
  const loses = page.slice(page.indexOf('## Where Countersign loses'));
  t.match(loses, '- ping-pong p50: countersign / HAProxy TCP: 1.2x, promised <= 1x.');
  t.match(page, '- first contact p50: countersign / HAProxy mTLS full: not measured.');
  t.notMatch(page, 'undefined');
  t.equal(page, performancePage(structuredClone(measured)), 'from the result alone');
  t.end();
});

t.test('benchmark: what went wrong stands on the page and in the report', (t) => {
  const broken = resultOf([], {
    problems: [{ variant: 'nginx', text: 'it ended\nat once' }],
    notes: ['nfqueue: not built'],
  });
  t.match(performancePage(broken), '- nginx: it ended at once');
  t.match(terminalReport(broken), 'PROBLEM  nginx: it ended');
  t.match(terminalReport(broken), 'left out: nfqueue: not built');
  t.end();
});

t.test('benchmark: the chart has a bar for each variant, in proportion', (t) => {
  const svg = chart(measured);
  const widths = [...svg.matchAll(/<rect [^>]*width="(\d+)"[^>]*class="(own|other)"/g)].map((match) =>
    match.slice(1),
  );
  t.strictSame(widths.slice(0, 2), [
    ['480', 'other'],
    ['240', 'own'],
  ]);
  t.match(svg, /^<svg [^>]*viewBox/);
  t.end();
});

t.test('benchmark: each round begins with another variant', (t) => {
  t.strictSame(inTurn([1, 2, 3], 0), [1, 2, 3]);
  t.strictSame(inTurn([1, 2, 3], 4), [2, 3, 1]);
  t.strictSame(inTurn([], 4), []);
  t.end();
});
