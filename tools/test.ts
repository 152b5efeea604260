/**
 * Runs the tests with tap and tells of them plainly, on a terminal and in a log alike: a line per test file, failures in full, what was
 * skipped and why, and a closing count. Arguments are tap's; `--no-skip` makes a skipped test a failure.
 *
 * A few files that failed are run once more, each alone (docs/decisions/0008): what passes then is called unsteady, by name, at the end.
 * Told to end (SIGINT, SIGTERM, SIGHUP) it ends every test first, and takes away what they leave; where it is killed they end with it, and the next run takes it
 * away. Temporary files of all tests are in a folder of this run.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeRunFolder, sweepLeftovers } from '../test/support/leftovers.ts';
import { TapReport } from './tap-report.ts';

/** More than these cannot be blamed on the machine's load. */
const AGAIN_AT_MOST = 3;

/** For tests that tidy up when they are told to end. */
const GRACE_MS = 3_000;

/** The first process of the tests' group: ends all of them when this one has died. */
const UNDERTAKER = `trap 'trap "" TERM; kill -TERM 0; sleep ${GRACE_MS / 1_000}; kill -KILL 0' TERM; "$@" & wait $!`;

const root = join(import.meta.dirname, '..');
const given = process.argv.slice(2);
const noSkip = given.includes('--no-skip');
const started = performance.now();
const print = (line: string): void => void process.stdout.write(`${line}\n`);

await sweepLeftovers();
const folder = makeRunFolder();

let ending = false;
let endTests = (_signal: NodeJS.Signals): void => {};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(signal));

// What a killed test leaves there goes with it. Programs that the tests start a thousand times are compiled once.
const environment = ['env', `TMPDIR=${folder}`, `NODE_COMPILE_CACHE=${join(folder, 'compiled')}`];
const tapFlags = given.filter((one) => one !== '--no-skip');
const { report, code } = await run(tapFlags);
const unsteady: string[] = [];
let good = code === 0 && report.failed === 0;
if (!good && report.failedFiles.length > 0 && report.failedFiles.length <= AGAIN_AT_MOST) {
  good = await runAgain();
}

await removeLeftovers();
print(`in ${((performance.now() - started) / 1000).toFixed(1)} s`);
for (const file of unsteady)
  print(`UNSTEADY  ${file}: failed, then passed alone. That is a defect, of the test or worse.`);
const skipsFail = noSkip && report.skipped > 0;
if (skipsFail) print('A skipped test counts as failed here.');
if (!good && report.failed === 0) print(`tap ended with status ${code}.`);
print(report.summary());
process.exitCode = good && report.passed > 0 && !skipsFail ? 0 : 1;

async function runAgain(): Promise<boolean> {
  for (const { name, failed, passed } of report.failedFiles) {
    print(`again, alone: ${name}`);
    const flags = tapFlags.filter((one) => one.startsWith('--'));
    const second = await run([...flags, name]);
    report.passed += second.report.passed - passed;
    report.skipped += second.report.skipped;
    if (second.code !== 0 || second.report.failed > 0 || second.report.passed === 0) return false;
    report.failed -= failed;
    unsteady.push(name);
  }
  return report.failed === 0;
}

async function end(signal: NodeJS.Signals): Promise<void> {
  if (ending) return;
  ending = true;
  print(`${signal}: the tests end`);
  endTests('SIGTERM');
  await sleep(GRACE_MS);
  endTests('SIGKILL');
  await removeLeftovers();
  process.exit(1);
}

async function removeLeftovers(): Promise<void> {
  await sweepLeftovers();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

async function run(flags: readonly string[]): Promise<{ report: TapReport; code: number }> {
  const tap = join(root, 'node_modules', '.bin', 'tap');
  const command = [...environment, process.execPath, tap, '--reporter=tap', ...flags];
  const child = spawn('setpriv', ['--pdeathsig=TERM', 'sh', '-c', UNDERTAKER, 'tests', ...command], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    // The leader of a process group, which all the tests are in: tap that is killed would leave them running.
    detached: true,
  });
  endTests = (signal) => {
    try {
      process.kill(-child.pid!, signal);
    } catch {
      // All of them have ended.
    }
  };
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve(status ?? 1));
  });
  const report = new TapReport(print);
  for await (const line of createInterface({ input: child.stdout })) report.line(line);
  const code = await ended;
  endTests('SIGKILL');
  // The end of the whole is told by whoever was told to end it.
  if (ending) await new Promise(() => {});
  return { report, code };
}
