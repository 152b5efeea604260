/**
 * Builds the addon with gcc's address and undefined-behaviour sanitizers, then with its thread sanitizer, and runs its tests and its fuzz runs
 * under them, in a copy of the tree. A finding ends the process that runs the tests, or makes its status 66. `--valgrind` runs the fuzz test under valgrind instead, which also tells leaks and
 * uninitialised memory, and takes minutes.
 *
 * detect_leaks=0: the leak sanitizer would tell of Node.js, which frees nothing at its end; test/relay/native-leaks.test.ts and valgrind look for ours.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { makeRunFolder, sweepLeftovers } from '../test/support/leftovers.ts';

const FUZZ = 'test/relay/native-fuzz.test.ts';
const TESTS = [
  FUZZ,
  'test/netlink/native-netlink-fuzz.test.ts',
  'test/relay/native-data-path.test.ts',
  'test/relay/native-held-socket.test.ts',
  'test/relay/native-thread-end.test.ts',
  'test/relay/native-sessions.test.ts',
  'test/relay/native-resumption-inbound.test.ts',
  'test/relay/native-resumption-outbound.test.ts',
  'test/relay/native-resumption-choice.test.ts',
  'test/nfqueue/connection-limit.test.ts',
  'test/nfqueue/passes.test.ts',
  'test/nfqueue/passes-fuzz.test.ts',
  'test/nfqueue/gate.test.ts',
  'test/nfqueue/pass-bounds.test.ts',
  'test/nfqueue/pass-frames.test.ts',
  'test/nfqueue/pass-offers.test.ts',
  'test/lib/curves.test.ts',
];
/** Real queues, conntrack and sockets, in a namespace (root); nothing in it happens on two threads. */
const KERNEL = 'test/system/kernel-packet-path.test.ts';
/** The same, in memory; half a minute. */
const SERVICE = 'test/nfqueue/service-passes-fuzz.test.ts';
/** A part of it runs out of descriptors, which the thread sanitizer does not survive. */
const DESCRIPTORS = 'test/relay/native-connection-limit.test.ts';
interface Sanitizer {
  readonly name: string;
  readonly flags: string;
  readonly libraries: readonly string[];
  readonly options: Readonly<Record<string, string>>;
  /** In front of the program. */
  readonly before: readonly string[];
  /** The long search of the data path's fuzz run, half a minute. */
  readonly long: boolean;
  readonly tests: readonly string[];
}
const SANITIZERS: readonly Sanitizer[] = [
  {
    name: 'address, undefined',
    flags:
      '-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer',
    libraries: ['libasan.so', 'libubsan.so'],
    options: {
      ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:strict_string_checks=1:detect_stack_use_after_return=1',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
    before: [],
    long: true,
    tests: [...TESTS, SERVICE, DESCRIPTORS, KERNEL],
  },
  {
    // Of Node.js, which is built without it, only locks and memory functions are seen; both sides of a race are looked for in the addon.
    name: 'thread',
    flags: '-fsanitize=thread -fno-omit-frame-pointer',
    libraries: ['libtsan.so'],
    options: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1:exitcode=66' },
    // Its shadow memory wants places that address randomisation gives to others.
    before: ['setarch', '--addr-no-randomize'],
    long: false,
    tests: TESTS,
  },
];
const TIMEOUT_MS = { sanitizers: 240_000, valgrind: 1_800_000 };
/** How they name a finding. */
const FINDING = /ERROR: AddressSanitizer|runtime error:|DEADLYSIGNAL|ThreadSanitizer:/;

const root = join(import.meta.dirname, '..');
await sweepLeftovers();
const tree = makeRunFolder();
process.once('exit', () => rmSync(tree, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));

for (const part of ['src', 'test', 'native', 'package.json', 'tsconfig.json']) {
  cpSync(join(root, part), join(tree, part), { recursive: true });
}
for (const part of ['node_modules', '.setup']) symlinkSync(join(root, part), join(tree, part));

process.exitCode = process.argv.includes('--valgrind') ? await underValgrind() : await underSanitizers();

async function underSanitizers(): Promise<number> {
  let failures = 0;
  for (const sanitizer of SANITIZERS) failures += await under(sanitizer);
  return failures === 0 ? 0 : 1;
}

/** @returns how many test files failed */
async function under(sanitizer: Sanitizer): Promise<number> {
  build(sanitizer.flags);
  const libraries = sanitizer.libraries.map((name) =>
    execFileSync('gcc', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
  );
  if (!libraries.every((file) => file.startsWith('/'))) {
    say(
      `gcc has no ${sanitizer.libraries.join(', ')} here: install those of its version (Debian: gcc brings them)`,
    );
    return 1;
  }
  let failures = 0;
  for (const file of sanitizer.tests) {
    const from = performance.now();
    const search = sanitizer.long && file === FUZZ ? { COUNTERSIGN_SOAK: '1' } : {};
    const environment = { ...sanitizer.options, ...search, LD_PRELOAD: libraries.join(' ') };
    const command = [...sanitizer.before, process.execPath, file];
    const { code, output } = await run(command, environment, TIMEOUT_MS.sanitizers);
    const passed = code === 0 && !FINDING.test(output);
    const took = ((performance.now() - from) / 1000).toFixed(1);
    say(`${passed ? 'clean ' : 'FAILED'}  ${sanitizer.name}: ${file}  ${took} s`);
    if (passed) continue;
    failures++;
    process.stdout.write(`${about(output)}\n`);
  }
  return failures;
}

async function underValgrind(): Promise<number> {
  build('');
  const report = join(tree, 'valgrind.txt');
  const sources = new Set(readdirSync(join(root, 'native')));
  // V8 writes the code that it runs.
  const flags = [
    '--smc-check=all-non-file',
    '--leak-check=full',
    '--show-leak-kinds=definite',
    '--num-callers=40',
  ];
  const command = ['valgrind', ...flags, `--log-file=${report}`, process.execPath, FUZZ];
  const { code, output } = await run(command, {}, TIMEOUT_MS.valgrind);
  // A paragraph each. Ours are those whose own frame, or the one below malloc's, is of the addon: what Node.js allocates for it and never frees is not.
  const findings = readFileSync(report, 'utf8')
    .split(/^==\d+== *$/m)
    .filter((paragraph) => {
      const frames = paragraph.split('\n').filter((line) => /^==\d+== +(at|by) 0x/.test(line));
      return frames.slice(0, 2).some((frame) => sources.has(/\((\w+\.c):\d+\)/.exec(frame)?.[1] ?? ''));
    });
  say(`valgrind: the fuzz run ended with ${code}, ${findings.length} findings in the addon`);
  for (const finding of findings.slice(0, 5)) process.stdout.write(`${finding}\n`);
  if (code !== 0) process.stdout.write(`${about(output)}\n`);
  return code === 0 && findings.length === 0 ? 0 : 1;
}

function build(extra: string): void {
  execFileSync(
    'make',
    [
      '-B',
      '-C',
      join(tree, 'native'),
      `include=${join(root, 'node_modules/node-api-headers/include')}`,
      `extra=${extra}`,
    ],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
}

function run(
  command: readonly string[],
  environment: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<{ code: number | null; output: string }> {
  const assignments = Object.entries({ ...environment, TMPDIR: tree }).map(
    ([name, value]) => `${name}=${value}`,
  );
  const child = spawn('setpriv', ['--pdeathsig=KILL', 'env', ...assignments, ...command], {
    cwd: tree,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  const timer = setTimeout(() => {
    output += `\nended after ${timeoutMs / 1000} s`;
    child.kill('SIGKILL');
  }, timeoutMs);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}

/** The finding, or what failed, or the end. */
function about(output: string): string {
  const at = [FINDING, /^ *not ok/m].map((pattern) => output.search(pattern)).find((found) => found >= 0);
  return at === undefined ? output.slice(-3_000) : output.slice(at, at + 4_000);
}

function say(text: string): void {
  process.stdout.write(`sanitize: ${text}\n`);
}
