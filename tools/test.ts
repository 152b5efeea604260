/**
 * Runs the tests with tap and tells of them plainly, on a terminal and in a log alike: a line per test file, failures in full, what was
 * skipped and why, and a closing count. Arguments are tap's; `--no-skip` makes a skipped test a failure.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { TapReport } from './tap-report.ts';

const root = join(import.meta.dirname, '..');
const given = process.argv.slice(2);
const noSkip = given.includes('--no-skip');
const started = performance.now();

const tap = join(root, 'node_modules', '.bin', 'tap');
const child = spawn(
  process.execPath,
  [tap, '--reporter=tap', ...given.filter((one) => one !== '--no-skip')],
  {
    cwd: root,
    stdio: ['inherit', 'pipe', 'inherit'],
  },
);
const ended = new Promise<number>((resolve, reject) => {
  child.once('error', reject);
  child.once('close', (code) => resolve(code ?? 1));
});

const report = new TapReport((line) => process.stdout.write(`${line}\n`));
for await (const line of createInterface({ input: child.stdout })) report.line(line);
const code = await ended;

const seconds = ((performance.now() - started) / 1000).toFixed(1);
process.stdout.write(`in ${seconds} s\n${report.summary()}\n`);
if (noSkip && report.skipped > 0) process.stdout.write('A skipped test counts as failed here.\n');
const failed = code !== 0 || report.failed > 0 || report.passed === 0 || (noSkip && report.skipped > 0);
if (failed && report.failed === 0) process.stdout.write(`tap ended with status ${code}.\n`);
process.exitCode = failed ? 1 : 0;
