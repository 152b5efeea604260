import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { PodUnderTest, SILENCE_MS } from '../redirect/pod-under-test.ts';
import { Queues } from '../redirect/queues.ts';
import { cannotNetns, type Ran } from '../support/netns.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(180_000);
const PROGRAM = join(import.meta.dirname, '../../bin/countersign');
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const MODE = ['--mode', 'nfqueue'];

t.test('nfqueue tools: which one sets the rules', { skip }, async (t) => {
  const under = new PodUnderTest(t, 'nft');
  await under.start();
  const redirect = (words: readonly string[], path = PATH): Promise<Ran> =>
    under.network.run('pod', ['env', `PATH=${path}`, PROGRAM, 'redirect', ...words], { timeoutMs: 60_000 });
  const folder = mkdtempSync(join(tmpdir(), 'countersign-tools-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const legacy = (): Promise<string> => under.shell('iptables-legacy-save; ip6tables-legacy-save');

  t.test('where nft does not work it is iptables, of its two places the cheaper', async (t) => {
    writeFileSync(join(folder, 'nft'), '#!/bin/sh\necho broken >&2\nexit 1\n');
    chmodSync(join(folder, 'nft'), 0o755);
    const path = `${folder}:${PATH}`;
    t.match(await redirect(['apply', ...MODE], path), { status: 0, out: /\(iptables-legacy,.*mode nfqueue/ });
    t.match(await redirect(['check', ...MODE], path), { status: 0, out: /in force \(iptables-legacy\)/ });
    t.match(await legacy(), /NFQUEUE/);
  });

  t.test('another tool takes the rules over while a verified connection goes on', async (t) => {
    const queues = new Queues(under);
    await queues.start('verify');
    const { said } = await under.hold('far', under.pod.four, 8081);
    await until('data arrives', () => said.some((line) => line.startsWith('server got')));
    for (const [words, tool] of [
      [[], 'nft'],
      [['--backend', 'iptables'], 'iptables'],
      [['--backend', 'nft'], 'nft'],
    ] as const) {
      const before = said.length;
      t.match(await redirect(['apply', ...MODE, ...words]), { status: 0, out: `(${tool}` });
      t.match(await redirect(['check', ...MODE]), { status: 0 }, 'and no other has any left');
      await until('the connection goes on', () => said.length >= before + 5);
    }
    t.notMatch(await legacy(), /COUNTERSIGN/);
    t.notOk(
      said.some((line) => line.startsWith('client')),
      'nobody was reset',
    );
    await queues.now('drop');
    const call = under.hear({ from: 'far', to: under.pod.four, port: 8080, timeoutMs: SILENCE_MS });
    t.equal(await call, 'silence', 'and the queues have what is new');
  });

  t.test('remove takes away what whichever tool has set', async (t) => {
    t.match(await redirect(['remove']), { status: 0 });
    t.notMatch(await under.ruleset(), /countersign/i);
    t.notMatch(await legacy(), /COUNTERSIGN/);
  });
});
