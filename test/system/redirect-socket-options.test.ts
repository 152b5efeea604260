import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { PodUnderTest, TOOLS } from '../redirect/pod-under-test.ts';
import { cannotNetns } from '../support/netns.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
// They share nothing, and most of their time is waiting for what must not come.
t.jobs = TOOLS.length;
const CALLS = readFileSync(join(import.meta.dirname, '../redirect/socket-options.py'), 'utf8');
/** Of a program that is not root: nothing, and what container runtimes give where nobody takes it away. */
const CAPABILITIES = ['-all', '-all,+net_raw'];
/** A pod inherits the node's settings for IPv4; these are the worst. Segment routing no pod inherits. */
const SETTINGS = [
  ...['all', 'lo', 'eth0'].map((device) => `net.ipv4.conf.${device}.accept_source_route=1`),
  ...['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'],
];
/** What gets through where no rules are. */
const UNRULED = [
  'plain 4',
  'plain 6',
  'mapped',
  'again',
  'record route',
  'device 4 eth0',
  'device 6 eth0',
].concat([14_001, 14_006, 14_020].map((port) => `from ${port}`));
const SEEN = `table inet seen { chain c { type filter hook prerouting priority -400;
  tcp dport 8080 tcp flags & rst != rst counter; }; }`;

for (const [mode, tool] of [
  ...TOOLS.map((tool) => ['redirect', tool] as const),
  ...TOOLS.filter((tool) => tool !== 'nft').map((tool) => ['nfqueue', tool] as const),
]) {
  t.test(
    `socket options lead no program without NET_ADMIN past the rules, ${mode} by ${tool}`,
    { skip, timeout: 290_000 },
    async (t) => {
      const under = new PodUnderTest(t, tool);
      const { pod, far } = under;
      await under.listen('far', 8080, 'far');
      await under.shell(SETTINGS.map((one) => `sysctl -qw ${one} || true`).join('\n'));
      const heard = async (
        capabilities: string,
        ...how: string[]
      ): Promise<Record<string, string | null>> => {
        const limits = ['inh-caps', 'ambient-caps', 'bounding-set'].map((set) => `--${set}=${capabilities}`);
        const program = ['python3', '-c', CALLS, far.four, far.six, pod.four, pod.six, ...how];
        const { out, complaint } = await under.network.run(
          'pod',
          // Tools that manage versions put programs into the path that others may not read.
          ['setpriv', '--reuid=1000', '--clear-groups', ...limits, 'env', 'PATH=/usr/bin:/bin', ...program],
          { timeoutMs: 60_000 },
        );
        if (out === '') throw new Error(complaint);
        return JSON.parse(out) as Record<string, string | null>;
      };
      // Otherwise silence would say nothing.
      t.strictSame(
        await heard(CAPABILITIES[1]!, '20', ...UNRULED),
        Object.fromEntries(UNRULED.map((name) => [name, 'far'])),
      );
      // Nobody listens on the ports of the proxy, nor on its queues.
      t.match(await under.redirect('apply', '--mode', mode), { status: 0 });
      await under.network.run('far', ['nft', SEEN]);
      for (const capabilities of CAPABILITIES) {
        const all = await heard(capabilities, '1');
        t.ok(Object.keys(all).length > 30, 'all were tried');
        t.strictSame(
          Object.entries(all).filter(([, word]) => word !== null),
          [],
          capabilities,
        );
      }
      const { out } = await under.network.run('far', ['nft', 'list', 'table', 'inet', 'seen']);
      t.match(out, /counter packets 0 /, 'not a packet left');
    },
  );
}
