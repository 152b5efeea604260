import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Step } from '../../src/demo/report.ts';
import { cannotNetns } from '../support/netns.ts';
import { until } from '../support/until.ts';

const ROOT = join(import.meta.dirname, '../..');
const skip = cannotNetns();
t.setTimeout(900_000);

function start(...flags: string[]) {
  const child = spawn(join(ROOT, 'bin/countersign'), ['demo', '--output', 'json', ...flags]);
  let [out, complaint, said] = ['', '', 0];
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    said = performance.now();
  });
  child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  const ended = new Promise<{
    status: number | null;
    steps: Step[];
    complaint: string;
    /** How long it stayed behind its last word, milliseconds. */
    lingered: number;
  }>((resolve) => {
    child.on('close', (status) => {
      const lines = out.split('\n').filter((line) => line !== '');
      resolve({
        status,
        steps: lines.map((line) => JSON.parse(line) as Step),
        complaint,
        lingered: performance.now() - said,
      });
    });
  });
  return { child, ended };
}

function leftovers(): string[] {
  const namespaces = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n');
  return [
    ...namespaces.filter((name) => name.startsWith('countersign-demo')),
    ...(existsSync('/run/countersign-demo') ? ['/run/countersign-demo'] : []),
  ];
}

t.test(
  'demo: every step comes out as expected, each with its reason, and nothing is left',
  { skip },
  async (t) => {
    const { status, steps, complaint, lingered } = await start().ended;
    for (const step of steps) t.equal(step.got, step.expected, `${step.step}: ${step.from}`);
    t.equal(status, 0, complaint);
    t.strictSame(
      new Set(steps.map((step) => step.reason)),
      new Set([
        '',
        'not-isolated',
        'policy-allowed',
        'policy-denied',
        'policy-changed',
        'unproven-denied',
        'token-untrusted',
        'foreign-domain',
        'proof-invalid',
        'replay',
        'wrong-destination',
      ]),
    );
    t.strictSame(leftovers(), []);
    t.ok(lingered < 60_000, `it ended ${Math.round(lingered)} ms after its last step`);
  },
);

t.test(
  'demo: killed in the middle, it leaves nothing that the next one does not take away',
  { skip },
  async (t) => {
    const killed = start();
    await until('it has made something', () => leftovers().length > 0);
    killed.child.kill('SIGKILL');
    await killed.ended;

    const folder = mkdtempSync(join(tmpdir(), 'countersign-demo-test-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    cpSync(join(ROOT, 'manifests/demo'), folder, { recursive: true });
    const pods = readFileSync(join(folder, 'pods.yaml'), 'utf8');
    const [approved, unapproved] = ['name: approved', 'name: unapproved'].map((name) => pods.indexOf(name));
    const label = '    beer: approved\n';
    const without = pods.slice(0, approved) + pods.slice(approved).replace(label, '');
    const at = without.indexOf('    app: guest\n', unapproved! - label.length);
    writeFileSync(join(folder, 'pods.yaml'), without.slice(0, at) + label + without.slice(at));

    const { status, steps, complaint } = await start('--manifests', folder).ended;
    t.equal(status, 0, complaint);
    const drank = (from: string) =>
      steps.find((step) => step.step === 'the policy is in force' && step.from === from)?.got;
    t.equal(drank('approved'), 'refused', 'a label that was moved');
    t.equal(drank('unapproved'), 'beer', 'changes who drinks');
    t.strictSame(leftovers(), []);
  },
);

t.test('demo: a second one is refused while the first runs, and SIGTERM cleans up', { skip }, async (t) => {
  const first = start();
  await until('it runs', () => leftovers().length > 0);
  const second = await start().ended;
  t.equal(second.status, 1);
  t.match(second.complaint, /another demo is running/);
  first.child.kill('SIGTERM');
  await first.ended;
  t.strictSame(leftovers(), []);
});

t.test('demo: in nfqueue mode every step comes out as expected, too', { skip }, async (t) => {
  const { status, steps, complaint } = await start('--mode', 'nfqueue').ended;
  for (const step of steps) t.equal(step.got, step.expected, `${step.step}: ${step.from}`);
  t.equal(status, 0, complaint);
  t.ok(steps.length > 12, `${steps.length} steps`);
  t.strictSame(leftovers(), []);
});
