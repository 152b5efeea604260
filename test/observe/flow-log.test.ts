import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { UserError } from '../../src/errors.ts';
import { FlowLog } from '../../src/observe/flow-log.ts';

const fail = (count: number): never => {
  throw new Error(`${count} records dropped`);
};
const linesOf = (file: string): string[] => readFileSync(file, 'utf8').trimEnd().split('\n');
const patiently = async (t: Test, what: string, holds: () => boolean): Promise<void> => {
  const until = performance.now() + 30_000;
  while (!holds() && performance.now() < until) await sleep(10);
  t.ok(holds(), what);
};

t.test('flow log: lines are appended whole and in order behind what is there', async (t) => {
  const file = join(t.testdir(), 'flows.log');
  writeFileSync(file, 'before\n');
  const log = new FlowLog(file, fail);
  const wanted = Array.from({ length: 5_000 }, (_, index) => `{"n":${index}}`);
  for (const line of wanted) log.write(line);
  await log.close();
  t.strictSame(linesOf(file), ['before', ...wanted]);
});

t.test('flow log: a line is in the file at once, not when a buffer is full', async (t) => {
  const file = join(t.testdir(), 'flows.log');
  const log = new FlowLog(file, fail);
  t.teardown(() => log.close());
  log.write('denied');
  await patiently(t, 'the denial is there', () => readFileSync(file, 'utf8') === 'denied\n');
});

t.test('flow log: the file is not for everybody', async (t) => {
  const file = join(t.testdir(), 'flows.log');
  await new FlowLog(file, fail).close();
  t.equal(statSync(file).mode & 0o007, 0);
});

t.test('flow log: after a rotation lines go to the new file, none is lost', async (t) => {
  const folder = t.testdir();
  const [file, rotated] = [join(folder, 'flows.log'), join(folder, 'flows.log.1')];
  const log = new FlowLog(file, fail);
  log.write('old');
  await patiently(t, 'written', () => readFileSync(file, 'utf8') === 'old\n');
  renameSync(file, rotated);
  await sleep(1_050); // the name is looked at once a second
  log.write('new');
  await log.close();
  t.strictSame([linesOf(rotated), linesOf(file)], [['old'], ['new']]);
});

t.test('flow log: reopen (SIGHUP) follows the name at once, in the middle of writing', async (t) => {
  const folder = t.testdir();
  const [file, rotated] = [join(folder, 'flows.log'), join(folder, 'flows.log.1')];
  const log = new FlowLog(file, fail);
  for (let index = 0; index < 1_000; index++) log.write(`a${index}`);
  renameSync(file, rotated);
  log.reopen();
  for (let index = 0; index < 1_000; index++) log.write(`b${index}`);
  await log.close();
  const [first, second] = [linesOf(rotated), linesOf(file)];
  t.equal(first.length + second.length, 2_000);
  t.ok(second.includes('b999') && !second.includes('a0'));
});

t.test(
  'flow log: where the new file cannot be had, the old one goes on, and descriptors do not leak',
  async (t) => {
    const folder = t.testdir();
    const [file, rotated] = [join(folder, 'flows.log'), join(folder, 'flows.log.1')];
    const log = new FlowLog(file, fail);
    renameSync(file, rotated);
    mkdirSync(file);
    for (let attempt = 0; attempt < 20; attempt++) log.reopen();
    log.write('still told');
    await log.close();
    t.strictSame(linesOf(rotated), ['still told']);
  },
);

t.test(
  'flow log: what a slow disk cannot take is dropped and counted, and memory stays bounded',
  async (t) => {
    const file = join(t.testdir(), 'flows.log');
    let dropped = 0;
    const log = new FlowLog(file, (count) => (dropped += count));
    const line = 'x'.repeat(1_000);
    // All in one turn of the event loop: not one write can finish meanwhile.
    for (let index = 0; index < 10_000; index++) log.write(line);
    t.ok(dropped > 5_000, `${dropped} dropped at once`);
    await log.close();
    t.equal(linesOf(file).length + dropped, 10_000);
  },
);

t.test('flow log: a full disk costs records, each counted, and the process goes on', async (t) => {
  let dropped = 0;
  const log = new FlowLog('/dev/full', (count) => (dropped += count));
  for (let index = 0; index < 10; index++) log.write('line');
  await log.close();
  t.equal(dropped, 10);
});

t.test('flow log: after the end, lines are counted as dropped', async (t) => {
  const file = join(t.testdir(), 'flows.log');
  let dropped = 0;
  const log = new FlowLog(file, (count) => (dropped += count));
  await log.close();
  log.write('late');
  t.equal(dropped, 1);
  await log.close();
});

t.test('flow log: a place that cannot be written is a clear error, also one that would block', (t) => {
  const folder = t.testdir();
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const [file, why] of [
    [join(folder, 'no-such-folder', 'flows.log'), /ENOENT/],
    [folder, /EISDIR/],
    [pipe, /ENXIO/],
  ] as const) {
    t.throws(() => new FlowLog(file, fail), { name: UserError.name, message: why });
    t.throws(() => new FlowLog(file, fail), { message: new RegExp(`^--flow-log ${file}: .*; name a file`) });
  }
  t.end();
});

t.test(
  'flow log: on standard output that nobody reads, the process neither blocks nor waits for ever',
  async (t) => {
    const program = `
    import { FlowLog } from '${join(import.meta.dirname, '../../src/observe/flow-log.ts')}';
    let dropped = 0;
    const log = new FlowLog('-', (count) => (dropped += count));
    const line = 'x'.repeat(1000);
    for (let index = 0; index < 8000; index++) log.write(line);
    const from = performance.now();
    setTimeout(() => process.stderr.write('alive '), 50);
    await log.close();
    process.stderr.write(JSON.stringify({ dropped, ms: performance.now() - from }));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    let told = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (told += text));
    child.stdout.pause();
    const [code] = (await once(child, 'exit', { signal: AbortSignal.timeout(60_000) })) as [unknown];
    t.equal(code, 0);
    t.match(told, /^alive \{/);
    const { dropped, ms } = JSON.parse(told.slice('alive '.length)) as { dropped: number; ms: number };
    t.ok(dropped > 3_000, `${dropped} dropped`);
    t.ok(ms < 20_000, `${ms} ms`);
  },
);

t.test('flow log: standard output gets every line when it is read', async (t) => {
  const program = `
    import { FlowLog } from '${join(import.meta.dirname, '../../src/observe/flow-log.ts')}';
    const log = new FlowLog('-', () => process.exit(9));
    for (let index = 0; index < 2000; index++) log.write('line ' + index);
    await log.close();`;
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  t.strictSame(
    out.trimEnd().split('\n'),
    Array.from({ length: 2_000 }, (_, index) => `line ${index}`),
  );
});
