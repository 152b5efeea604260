/**
 * Breaks the product on purpose: applies each patch of `test/sabotage/` alone to a copy of the tree and demands that the tests which it names
 * fail by their assertions. A patch that survives is a property without a test. Arguments: parts of patch names, to run only those.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeRunFolder, sweepLeftovers } from '../test/support/leftovers.ts';
import { applyTo, type Patch, parsePatch } from './sabotage-patch.ts';

const WORKERS = 2;
const TEST_TIMEOUT_MS = 60_000;
/** More than these cannot be blamed on the machine's load. */
const AGAIN_AT_MOST = 3;
/** Big, the same for every patch; the addon is built anew for a patch that changes it. */
const ADDON = 'native/build';
const WITHOUT_ASSERTION = 'fails without a failing assertion';
const LINKED = ['node_modules', '.setup', ADDON];
/** A patch that makes code which cannot run breaks nothing that a test would have to notice. */
const NOT_AN_ASSERTION =
  /SyntaxError|ReferenceError|ERR_MODULE_NOT_FOUND|ERR_UNSUPPORTED_TYPESCRIPT|ERR_INVALID_TYPESCRIPT/;

const root = join(import.meta.dirname, '..');
const started = performance.now();

interface TestRun {
  readonly failed: boolean;
  /** What failed first. */
  readonly by: string | undefined;
  /** Why the result says nothing. */
  readonly defect: string | undefined;
}

process.exitCode = await main(process.argv.slice(2));

async function main(wanted: readonly string[]): Promise<number> {
  const patches = readPatches().filter(
    ({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)),
  );
  if (patches.length === 0) {
    say('no such patch in test/sabotage');
    return 1;
  }
  await sweepLeftovers();
  const folder = makeRunFolder();
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => process.exit(130));
  process.once('exit', remove);
  const trees = Array.from({ length: WORKERS }, (_, index) => copyTree(join(folder, String(index))));

  const tests = Map.groupBy(
    patches.flatMap(({ red }) => red),
    ({ file }) => file,
  );
  const control = await twice(trees, [...tests], async (tree, [file, red]) => {
    const run = await runTest(
      tree,
      file,
      red.map(({ test }) => test),
    );
    const why = run.defect ?? (run.failed ? run.by : undefined);
    return why === undefined ? undefined : `${file} fails already without a patch: ${why}`;
  });
  if (control > 0) return 1;
  say(`the tests named in ${tests.size} files pass untouched, ${patches.length} patches to go`);

  const survived = await twice(trees, patches, async (tree, patch) => {
    const from = performance.now();
    const { killed, text } = await sabotage(tree, patch);
    if (killed) say(`killed    ${patch.name}  ${seconds(from)}  ${text}`);
    return killed ? undefined : `SURVIVED  ${patch.name}  ${seconds(from)}  ${text}`;
  });
  say(`${patches.length - survived} killed, ${survived} survived, ${seconds(started)}`);
  return survived === 0 ? 0 : 1;
}

/**
 * Does the jobs, and once more, alone, the few that came out wrong (docs/decisions/0008). Gives how many are wrong for good.
 * @param work undefined, or what is wrong.
 */
async function twice<T>(
  trees: readonly string[],
  jobs: readonly T[],
  work: (tree: string, job: T) => Promise<string | undefined>,
): Promise<number> {
  const wrong: T[] = [];
  await share(trees, jobs, async (tree, job) => {
    const why = await work(tree, job);
    if (why === undefined) return;
    wrong.push(job);
    say(why);
  });
  if (wrong.length > AGAIN_AT_MOST) return wrong.length;
  let forGood = 0;
  for (const job of wrong) {
    say('again, alone');
    const why = await work(trees[0]!, job);
    if (why !== undefined) forGood += 1;
    say(why ?? 'UNSTEADY  as it should be this time. That is a defect, of the test or worse.');
  }
  return forGood;
}

async function sabotage(tree: string, patch: Patch): Promise<{ killed: boolean; text: string }> {
  const original = new Map(
    patch.changes.map(({ file }) => [file, readFileSync(join(tree, file), 'utf8')] as const),
  );
  try {
    for (const change of patch.changes) {
      const applied = applyTo(original.get(change.file)!, change);
      if ('problem' in applied) return { killed: false, text: `${change.file}: ${applied.problem}` };
      writeFileSync(join(tree, change.file), applied.text);
    }
    if (changesAddon(patch)) buildAddon(tree);
    for (const { file, test } of patch.red) {
      const run = await runTest(tree, file, [test]);
      if (run.defect !== undefined) return { killed: false, text: `${file}: ${run.defect}` };
      if (!run.failed) return { killed: false, text: `'${test}' passes, although: ${patch.breaks}` };
    }
    return { killed: true, text: patch.red.map(({ test }) => test).join('; ') };
  } finally {
    for (const [file, text] of original) writeFileSync(join(tree, file), text);
    if (changesAddon(patch)) linkAddon(tree);
  }
}

function changesAddon({ changes }: Patch): boolean {
  return changes.some(({ file }) => file.startsWith('native/'));
}

/** An addon of the tree's own, instead of the one that all trees share. */
function buildAddon(tree: string): void {
  rmSync(join(tree, ADDON));
  execFileSync('make', ['-C', join(tree, 'native')], { stdio: ['ignore', 'ignore', 'pipe'] });
}

function linkAddon(tree: string): void {
  rmSync(join(tree, ADDON), { recursive: true, force: true });
  symlinkSync(join(root, ADDON), join(tree, ADDON));
}

/**
 * Runs of a test file those tests whose name holds one of `names`, up to the first that fails. A process of the test's own that ends there, before what it
 * says was read, may take the failing line along: then all of them are run.
 */
async function runTest(tree: string, file: string, names: readonly string[]): Promise<TestRun> {
  const run = await runOnce(tree, file, names, true);
  return run.defect?.startsWith(WITHOUT_ASSERTION) === true ? runOnce(tree, file, names, false) : run;
}

function runOnce(tree: string, file: string, names: readonly string[], bail: boolean): Promise<TestRun> {
  const pattern = names.map((name) => name.replaceAll(/[^\w ]/g, '\\$&')).join('|');
  // What is ended in the middle leaves its files in the folder of the run, and ends what it has started.
  const places = [`TMPDIR=${join(tree, '..')}`, `NODE_COMPILE_CACHE=${join(tree, '..', 'compiled')}`];
  const settings = [`TAP_GREP=/${pattern}/`, `TAP_BAIL=${Number(bail)}`, ...places];
  const child = spawn('setpriv', ['--pdeathsig=KILL', 'env', ...settings, process.execPath, file], {
    cwd: tree,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), TEST_TIMEOUT_MS);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const by = /^ *not ok \d+ - (.{1,200})/m.exec(output)?.[1];
      resolve({ failed: code !== 0, by, defect: defectOf(code, signal, output) });
    });
  });
}

function defectOf(code: number | null, signal: string | null, output: string): string | undefined {
  if (signal !== null) return `ended by ${signal}, perhaps after ${TEST_TIMEOUT_MS / 1000} s`;
  const withoutAssertion = `${WITHOUT_ASSERTION}: ${output.slice(-200).trim()}`;
  // Of tests that run beside each other nothing but this is said when one fails.
  if (/^Bail out!/m.test(output) && !/^ *not ok \d/m.test(output)) return withoutAssertion;
  if (!/^ *(not )?ok \d+ (?!.* # SKIP filter)/m.test(output)) return 'has no test of this name';
  if (code === 0) return undefined;
  const nonsense = NOT_AN_ASSERTION.exec(output);
  if (nonsense !== null) return `does not run: ${nonsense[0]}`;
  return /^ *not ok \d/m.test(output) ? undefined : withoutAssertion;
}

function readPatches(): Patch[] {
  const folder = join(root, 'test', 'sabotage');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.patch'))
    .toSorted()
    .map((name) => {
      const patch = parsePatch(name.replace(/\.patch$/, ''), readFileSync(join(folder, name), 'utf8'));
      const missing = [...patch.red, ...patch.changes].filter(({ file }) => !existsSync(join(root, file)));
      if (missing.length > 0)
        throw new Error(`test/sabotage/${name} names what is not there: ${missing[0]!.file}`);
      return patch;
    });
}

function copyTree(to: string): string {
  const listed = execFileSync('git', ['ls-files', '-z', '-c', '-o', '--exclude-standard'], { cwd: root });
  for (const file of new Set(listed.toString('utf8').split('\0'))) {
    if (file !== '' && existsSync(join(root, file))) cpSync(join(root, file), join(to, file));
  }
  for (const name of LINKED) if (existsSync(join(root, name))) symlinkSync(join(root, name), join(to, name));
  return to;
}

/** Hands out the jobs to the trees, one at a time each. */
async function share<T>(
  trees: readonly string[],
  jobs: readonly T[],
  work: (tree: string, job: T) => Promise<void>,
): Promise<void> {
  const queue = jobs.values();
  await Promise.all(
    trees.map(async (tree) => {
      for (const job of queue) await work(tree, job);
    }),
  );
}

function seconds(from: number): string {
  return `${((performance.now() - from) / 1000).toFixed(1)} s`;
}

function say(text: string): void {
  process.stdout.write(`sabotage: ${text}\n`);
}
