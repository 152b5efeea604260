import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PROTOCOL } from '../../src/netlink/query-socket.ts';
import { SidecarCapabilities } from '../../src/proxy/capabilities.ts';
import { cannotNetns } from '../support/netns.ts';

const ADMIN = 2 ** 12;
const RAW = 2 ** 13;
const CHOWN = 1;
/** As /proc shows it. */
const hex = (bits: number): string => bits.toString(16).padStart(16, '0');

/** A kernel with one thread: what is not permitted cannot be had again. */
function thread(permitted: number) {
  let now: [number, number] = [0, permitted];
  return {
    now: () => now,
    capabilities: () => now,
    setCapabilities: (effective: number, asked: number) => {
      if ((asked & ~now[1]) !== 0 || (effective & ~asked) !== 0)
        throw Object.assign(new Error('EPERM'), { code: 'EPERM' });
      now = [effective, asked];
    },
  };
}

t.test('capabilities: each mode has what it needs when it needs it, and nothing before and after', (t) => {
  const rows = [
    ['redirect', { nfqueue: false, keepSource: false }, ADMIN + RAW, [[0, 0]]],
    ['keep-source', { nfqueue: false, keepSource: true }, ADMIN + RAW, [[RAW, RAW]]],
    ['keep-source with NET_ADMIN alone', { nfqueue: false, keepSource: true }, ADMIN, [[ADMIN, ADMIN]]],
    ['keep-source without any', { nfqueue: false, keepSource: true }, 0, [[0, 0]]],
    [
      'nfqueue',
      { nfqueue: true, keepSource: false },
      ADMIN + RAW + CHOWN,
      [
        [0, ADMIN + RAW],
        [ADMIN + RAW, ADMIN + RAW],
        [ADMIN, ADMIN],
      ],
    ],
    [
      'nfqueue without any: it is the queues that say so',
      { nfqueue: true, keepSource: false },
      0,
      [
        [0, 0],
        [0, 0],
        [0, 0],
      ],
    ],
  ] as const;
  for (const [what, needs, permitted, wanted] of rows) {
    const kernel = thread(permitted);
    const capabilities = new SidecarCapabilities(kernel, needs, false);
    const seen: (readonly [number, number])[] = [];
    capabilities.forDataThread();
    seen.push(kernel.now());
    if (needs.nfqueue) {
      capabilities.forQueues();
      seen.push(kernel.now());
      capabilities.forPackets();
      seen.push(kernel.now());
    }
    t.strictSame(seen, wanted, what);
  }
  t.end();
});

t.test('capabilities: root by hand keeps what it has', (t) => {
  const kernel = thread(ADMIN + RAW + CHOWN);
  new SidecarCapabilities(kernel, { nfqueue: false, keepSource: false }, true).forDataThread();
  t.strictSame(kernel.now(), [0, ADMIN + RAW + CHOWN]);
  t.end();
});

/** As the image has it: the words of tools/image-root.sh on a copy of Node.js, with an addon that its user can read. */
function imageNode(t: Test): { node: string; addon: string } {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-capabilities-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const node = join(folder, 'node');
  cpSync(realpathSync(process.execPath), node);
  chmodSync(node, 0o755);
  const root = join(import.meta.dirname, '../..');
  const [, words = ''] =
    /^setcap (\S+) "\$out\/usr\/local\/bin\/node"$/m.exec(
      readFileSync(join(root, 'tools/image-root.sh'), 'utf8'),
    ) ?? [];
  execFileSync('setcap', [words, node]);
  const addon = join(folder, 'countersign.node');
  cpSync(join(root, 'native/build/countersign.node'), addon);
  return { node, addon };
}

/** A container of a user that is not root: these capabilities in its bounding set, as `capabilities.add` after `drop: ALL` puts them there. */
function inContainer(added: readonly string[], more: readonly string[] = []): readonly string[] {
  const bounding = `--bounding-set=-all${added.map((name) => `,+${name}`).join('')}`;
  return [
    'setpriv',
    '--reuid=14014',
    '--regid=14014',
    '--clear-groups',
    '--inh-caps=-all',
    bounding,
    ...more,
  ];
}

/** Says what it has, what it has after `steps`, and what the addon's threads, and a program that it executes, have then. */
const PROGRAM = (addon: string, steps: string): string => `
const { readFileSync, readdirSync } = require('node:fs');
const addon = require(${JSON.stringify(addon)});
const of = (id) => { const text = readFileSync('/proc/self/task/' + id + '/status', 'utf8');
return [/CapEff:.*/, /CapPrm:.*/].map((line) => line.exec(text)[0].slice(-16)); };
const before = of(process.pid), known = new Set(readdirSync('/proc/self/task'));
${steps}
const threads = () => readdirSync('/proc/self/task').filter((id) => !known.has(id)).map(of);
// A thread that has begun may not have come to the line in which it gives up what it has.
const until = Date.now() + 20_000;
while (Date.now() < until && threads().flat().some((one) => one !== '${hex(0)}'));
const main = of(process.pid), started = threads();
const executed = require('node:child_process').execFileSync(process.execPath,
  ['-p', "/CapPrm.*/.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))[0].slice(-16)"], { encoding: 'utf8' }).trim();
let raised = true;
try { addon.setCapabilities(0, ${ADMIN + RAW}); } catch (error) { raised = error.code; }
console.log(JSON.stringify({ before, main, started, executed, raised }));
process.exit(0);`;

interface Said {
  readonly before: readonly string[];
  readonly main: readonly string[];
  readonly started: readonly (readonly string[])[];
  readonly executed: string;
  readonly raised: true | string;
}

t.test(
  'capabilities of the file: a container has those that it was given, permitted and not in effect, and starts without them too',
  { skip: cannotNetns() },
  (t) => {
    const { node, addon } = imageNode(t);
    const run = (container: readonly string[], steps = ''): Said => {
      const [program, ...args] = [...container, node, '-e', PROGRAM(addon, steps)];
      // The checkout may lie where only root may read.
      const ended = spawnSync(program, args, { cwd: '/', encoding: 'utf8', timeout: 60_000 });
      t.equal(ended.status, 0, ended.stderr);
      return JSON.parse(ended.stdout) as Said;
    };
    const none = hex(0);
    t.strictSame(run(inContainer([])).before, [none, none], 'no capability in the container: it starts');
    t.strictSame(
      run([...inContainer(['net_admin', 'net_raw']), 'setpriv', '--no-new-privs']).before,
      [none, none],
      'allowPrivilegeEscalation: false, started by who has none: it starts, and the file gives nothing',
    );
    t.strictSame(run(inContainer(['net_raw'])).before, [none, hex(RAW)]);
    // setpriv keeps what is permitted when it changes the user, as runc does.
    const both = inContainer(['net_admin', 'net_raw'], ['--no-new-privs']);
    const unlimited = run(both);
    t.strictSame(unlimited.before, [none, hex(ADMIN + RAW)]);
    t.equal(unlimited.raised, true, 'what does not limit itself can have them');
    const limited = run(inContainer(['net_admin', 'net_raw']), 'addon.setCapabilities(0, 0);');
    t.strictSame(limited.before, [none, hex(ADMIN + RAW)]);
    t.strictSame(limited.main, [none, none]);
    t.equal(limited.raised, 'EPERM', 'what was given up is gone');
    t.equal(limited.executed, none, 'and does not come back with the next program');
    const working = run(
      both,
      `addon.setCapabilities(0, ${ADMIN + RAW});
       addon.start(() => {});
       addon.setCapabilities(${ADMIN}, ${ADMIN});
       addon.netlinkListen(addon.netlinkOpen(${PROTOCOL.netfilter}, 0, 65536), () => {}, undefined);`,
    );
    t.strictSame(working.main, [hex(ADMIN), hex(ADMIN)]);
    t.strictSame(
      working.started,
      [[none, none]],
      'the thread of the data path keeps nothing that was not in effect for it; to receive packets starts none',
    );
    t.end();
  },
);
