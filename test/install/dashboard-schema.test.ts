import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';

const ROOT = join(import.meta.dirname, '../..');
const TSC = join(ROOT, 'node_modules/.bin/tsc');
const FILE = readFileSync(join(ROOT, 'manifests/monitoring/dashboard.json'), 'utf8');

interface Dashboard {
  panels: { gridPos: object; fieldConfig?: { defaults: object } }[];
  templating: { list: object[] };
}

/**
 * Has the compiler hold a dashboard to Grafana's own description of one, `@grafana/schema`: its text as a literal, so that fields that Grafana
 * does not know count too. @returns what is wrong, '' if nothing
 */
async function faultsOf(t: Test, json: string): Promise<string> {
  const file = join(t.testdir(), 'dashboard.ts');
  writeFileSync(
    file,
    `import type { Dashboard } from '@grafana/schema';\nexport const dashboard: Dashboard = ${json};\n`,
  );
  const flags = '--ignoreConfig --noEmit --skipLibCheck --strict --module nodenext --types node'.split(' ');
  try {
    // What tap has its processes load is nothing for the compiler.
    await promisify(execFile)('env', ['-u', 'NODE_OPTIONS', TSC, ...flags, file]);
    return '';
  } catch (error) {
    const { stdout } = error as { stdout?: string };
    if (stdout === undefined || stdout === '') throw error; // it has not compiled at all
    return stdout;
  }
}

t.test("dashboard: it is one by Grafana's own schema", async (t) => {
  t.equal(await faultsOf(t, FILE), '');
});

const BREAKS: readonly [what: string, change: (dashboard: Dashboard) => void, said: RegExp][] = [
  ['a field that no dashboard has', (it) => Object.assign(it, { pannels: [] }), /pannels/],
  ['a panel without a width', (it) => (it.panels[1]!.gridPos = { x: 0, y: 0, h: 7 }), /'w'/],
  ['a unit that is a number', (it) => (it.panels[1]!.fieldConfig!.defaults = { unit: 7 }), /unit/],
  ['a variable of no kind', (it) => Object.assign(it.templating.list[0]!, { type: 'none' }), /type/],
];
for (const [what, change, said] of BREAKS)
  t.test(`dashboard: ${what} is seen`, async (t) => {
    const broken = JSON.parse(FILE) as Dashboard;
    change(broken);
    t.match(await faultsOf(t, JSON.stringify(broken)), said);
  });
