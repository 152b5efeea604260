import { type FigureName, FIGURES, reading } from './figures.ts';
import type { BenchResult } from './result.ts';
import { digits } from './statistics.ts';

const CHARTED: readonly FigureName[] = ['bulk1', 'cpuPerGb', 'rate', 'cpuPerConnection', 'connect'];
const WIDTH = 860;
const NAMES = 300;
const BAR = 16;
const GAP = 4;
const HEAD = 34;

/** Bars of the main figures, one group below the other; Countersign's own in another colour. Plain SVG, readable on light and dark. */
export function chart(result: BenchResult): string {
  const parts: string[] = [];
  let y = 8;
  for (const name of CHARTED) {
    const rows = result.variants.flatMap(({ id, title }) => {
      const found = reading(result, name, id);
      return found === undefined || found.median === 0 ? [] : [{ id, title, value: found.median }];
    });
    if (rows.length === 0) continue;
    const most = Math.max(...rows.map(({ value }) => value));
    const better = FIGURES[name].better === 'more' ? 'longer is better' : 'shorter is better';
    parts.push(`<text x="0" y="${y + 20}" class="h">${escape(FIGURES[name].title)} (${better})</text>`);
    y += HEAD;
    for (const { id, title, value } of rows) {
      const length = Math.max(1, Math.round((value / most) * (WIDTH - NAMES - 80)));
      const kind = id.startsWith('countersign') ? 'own' : 'other';
      parts.push(
        `<text x="${NAMES - 8}" y="${y + 12}" text-anchor="end">${escape(title.replaceAll('**', ''))}</text>`,
        `<rect x="${NAMES}" y="${y}" width="${length}" height="${BAR}" class="${kind}"/>`,
        `<text x="${NAMES + length + 6}" y="${y + 12}">${digits(value)}</text>`,
      );
      y += BAR + GAP;
    }
    y += 12;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="Countersign and others measured">
<style>text{font:12px sans-serif;fill:#6b7280}.h{font-weight:bold}.own{fill:#0d9488}.other{fill:#9ca3af}</style>
${parts.join('\n')}
</svg>
`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
