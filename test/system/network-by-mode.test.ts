/** Networks as they are, for redirect mode and the mixed pairs: SYN cookies, which hide the client's SYN, Fast Open that a namespace has given up, and that of applications. */
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { AT_ONCE, FAST_OPEN, GREETED_CALLS, GREETER } from '../support/greeted-calls.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const PORT = 9200;

const PAIRS = [
  { client: 'redirect', server: 'redirect' },
  { client: 'nfqueue', server: 'redirect' },
  { client: 'redirect', server: 'nfqueue' },
] as const;
// They share nothing, and some of their time is waiting.
t.jobs = PAIRS.length;

for (const modes of PAIRS)
  t.test(
    `a client in ${modes.client} mode and a server in ${modes.server} mode in networks as they are`,
    { skip, timeout: 800_000 },
    async (t) => {
      const cluster = new Cluster(t);
      const { network } = cluster;
      const server = cluster.pod('server', { labels: { app: 'server' }, mode: modes.server });
      cluster.pod('approved', { labels: { drinks: 'beer' }, mode: modes.client });
      cluster.pod('other', { mode: modes.client });
      cluster.pod('plain', { labels: { drinks: 'beer' }, sidecar: false });
      const isolate = (): void => cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
      isolate();
      await cluster.startSidecars('server', 'approved', 'other');
      const greeter = network.start('server', ['python3', '-c', GREETER(PORT)]);
      await once(greeter.stdout!, 'data');

      const calls = async (from: string, to: string, count: number, how = AT_ONCE) => {
        const program = GREETED_CALLS(to, PORT, count, how);
        const { out, complaint } = await network.run(from, ['python3', '-c', program], {
          timeoutMs: 300_000,
        });
        if (out === '') throw new Error(complaint);
        return JSON.parse(out) as Record<string, number>;
      };
      /** First calls and resumed ones, over both families: who may come in does, with every byte, and nobody else. */
      const judged = async (t: Test, how = AT_ONCE): Promise<void> => {
        const before = cluster.flows('server').length;
        await cluster.kill('approved');
        cluster.launch('approved');
        await cluster.ready('approved');
        for (const to of [server.four, server.six]) {
          t.strictSame(await calls('approved', to, 10, how), { right: 10 }, `proven, ${to}`);
          for (const from of ['other', 'plain'])
            t.notOk('right' in (await calls(from, to, 3, how)), `${from}, ${to}`);
        }
        await until('all have their records', () => cluster.flows('server').length >= before + 32);
        const allowed = cluster
          .flows('server')
          .slice(before)
          .filter(({ verdict }) => verdict === 'allow');
        t.strictSame(
          [...new Set(allowed.map(({ peer, source }) => `${peer} ${source.pod}`))],
          ['proven approved'],
        );
      };

      t.test(
        'with SYN cookies alone no SYN is seen, and identity is heard and demanded all the same',
        async (t) => {
          network.sysctl('server', 'net.ipv4.tcp_syncookies', '2');
          await judged(t);
          network.sysctl('server', 'net.ipv4.tcp_syncookies', '1');
        },
      );

      t.test(
        'with SYN cookies a server that speaks first is heard by who has no sidecar, and by who has one',
        async (t) => {
          network.sysctl('server', 'net.ipv4.tcp_syncookies', '2');
          cluster.remove('policy.yaml');
          for (const from of ['plain', 'approved']) {
            await until(
              `nothing isolates it from ${from}`,
              async () => 'right' in (await calls(from, server.four, 1)),
            );
            t.strictSame(await calls(from, server.four, 10), { right: 10 }, from);
          }
          isolate();
          await until(
            'it is isolated again',
            async () => !('right' in (await calls('plain', server.four, 1))),
          );
          network.sysctl('server', 'net.ipv4.tcp_syncookies', '1');
        },
      );

      t.test(
        'where the namespace of the client gave Fast Open up, nothing changes but a round trip',
        async (t) => {
          network.sysctl('server', 'net.ipv4.tcp_fastopen', '3');
          network.sysctl('approved', 'net.ipv4.tcp_fastopen', '0');
          await judged(t);
          network.sysctl('approved', 'net.ipv4.tcp_fastopen', '1');
        },
      );

      t.test(
        "without cookies for Fast Open, and with an application's own, bytes arrive once and whole",
        async (t) => {
          network.sysctl('server', 'net.ipv4.tcp_fastopen', String(0x203));
          for (const host of ['approved', 'other', 'plain'])
            network.sysctl(host, 'net.ipv4.tcp_fastopen', '5');
          await judged(t, FAST_OPEN);
        },
      );
    },
  );
