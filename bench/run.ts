/**
 * `make bench`: what two sidecars cost, beside nothing and beside other proxies, all in one interleaved run (root). Flags:
 *
 *   --quick            few and short samples, under two minutes
 *   --only A,B         these variants alone
 *   --out FILE         where the result goes as JSON (bench/results/DATE.json)
 *   --write-docs       writes docs/performance.md and docs/performance.svg
 *   --from FILE        measures nothing: takes a result that is there
 *
 * Exit status: 0; 1 when a sample was void, a connection failed or a variant did not start (the rest was measured all the same); 2 for wrong flags.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EXIT, messageOf } from '../src/errors.ts';
import { chart } from './chart.ts';
import { performancePage, terminalReport } from './document.ts';
import { flagsOf, text, yes } from './flags.ts';
import { FULL, type Plan, QUICK } from './plan.ts';
import { Progress } from './progress.ts';
import type { BenchResult } from './result.ts';
import { Session } from './session.ts';

const ROOT = join(import.meta.dirname, '..');
const flags = flagsOf(
  'bench/run.ts',
  'What two sidecars cost, beside nothing and beside other proxies (make bench; root).',
  {
    quick: yes('few and short samples, under two minutes'),
    only: text('these variants alone', 'A,B'),
    out: text('where the result goes as JSON; bench/results/DATE.json unless told', 'FILE'),
    'write-docs': yes('writes docs/performance.md and docs/performance.svg'),
    from: text('measures nothing: takes a result that is there', 'FILE'),
  },
);
const result = flags.from === undefined ? await measure(flags.quick ? QUICK : FULL) : readResult(flags.from);

if (flags.from === undefined) {
  const file = flags.out ?? join(ROOT, 'bench/results', `${result.date.replaceAll(/[:.]/g, '-')}.json`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(result, undefined, 1)}\n`);
  writeFileSync(file.replace(/(\.json)?$/, '.svg'), chart(result));
  process.stderr.write(`the result is in ${file}\n`);
}
process.stdout.write(`\n${terminalReport(result)}`);
if (flags['write-docs']) {
  writeFileSync(join(ROOT, 'docs/performance.md'), performancePage(result));
  writeFileSync(join(ROOT, 'docs/performance.svg'), chart(result));
  process.stderr.write('docs/performance.md is written\n');
}
process.exit(result.problems.length > 0 ? 1 : 0);

async function measure(plan: Plan): Promise<BenchResult> {
  // Sidecars run as an image carries them; an older bundle would be of another program.
  execFileSync(process.execPath, [join(ROOT, 'tools/bundle.ts')], { stdio: ['ignore', 'ignore', 'inherit'] });
  const only = flags.only?.split(',');
  const session = new Session(plan, (id) => only === undefined || only.includes(id));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      process.stderr.write(`\n${signal}: cleaning up\n`);
      session.place.close();
      process.exit(130);
    });
  }
  try {
    process.stderr.write('starting namespaces, proxies and sidecars\n');
    await session.start();
    const steps =
      plan.rounds * plan.loads.length +
      Math.floor(plan.kernelRounds / 4) +
      plan.farRounds +
      Math.floor(plan.firstContacts / 5) +
      2;
    const progress = new Progress(steps);
    await session.rounds(progress);
    await session.kernel(progress);
    await session.queuedPackets();
    await session.firstContacts(progress);
    await session.far(progress);
    await session.memory(progress);
    return session.result(flags.quick);
  } finally {
    session.place.close();
  }
}

function readResult(file: string): BenchResult {
  try {
    const value = JSON.parse(readFileSync(file, 'utf8')) as BenchResult;
    if (value.format !== 1) throw new Error(`format ${String(value.format)} is not known, 1 is`);
    return value;
  } catch (error) {
    process.stderr.write(`bench/run.ts: --from ${file}: ${messageOf(error)}\n`);
    process.exit(EXIT.usage);
  }
}
