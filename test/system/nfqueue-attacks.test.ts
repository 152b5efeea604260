/**
 * What test/system/redirect-attacks tries on the rules of redirect mode, on those of NFQUEUE mode. Of its attacks those that have no meaning here: nobody
 * tells the loss of a rule by a live test of nftables (this mode has iptables alone), and connections that were open before `apply` are in
 * test/support/mode-scenarios, untracked packets in test/system/nfqueue-rules.
 */
import t from 'tap';
import { PodUnderTest, PROXY_UID, SILENCE_MS, TOOLS } from '../redirect/pod-under-test.ts';
import { Queues } from '../redirect/queues.ts';
import { cannotNetns } from '../support/netns.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const FAMILIES = ['four', 'six'] as const;
const MODE = ['--mode', 'nfqueue'];
// Most of the time is waiting for what must not come.
t.jobs = 2;

for (const tool of TOOLS.filter((one) => one !== 'nft')) {
  t.test(`nfqueue attacks, rules by ${tool}`, { skip, timeout: 240_000 }, async (t) => {
    const under = new PodUnderTest(t, tool);
    const { pod, far } = under;
    await under.start();
    await under.redirect('apply', ...MODE);
    const queues = new Queues(under);
    await queues.start('stream');

    t.test("the proxy's listeners cannot be reached directly, by any address of the pod", async (t) => {
      await under.network.run('pod', ['ip', 'addr', 'add', '10.99.0.77/16', 'dev', 'eth0']);
      await under.network.run('pod', ['ip', 'addr', 'add', 'fd99::77/64', 'dev', 'eth0', 'nodad']);
      const calls = [pod.four, pod.six, '10.99.0.77', 'fd99::77'].flatMap((to) =>
        [14_001, 14_006].map((port) => under.hear({ from: 'far', to, port, timeoutMs: SILENCE_MS })),
      );
      for (const heard of await Promise.all(calls)) t.notMatch(heard, /^at/);
      t.equal(await under.hear({ from: 'far', to: '10.99.0.77', port: 8080 }), 'at 14006');
    });

    t.test(
      'the listener on loopback is not reached from outside, even where loopback is routed',
      async (t) => {
        await under.shell('sysctl -qw net.ipv4.conf.all.route_localnet=1');
        await under.network.run('far', ['sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1']);
        await under.network.run('far', ['ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo']);
        const route = ['ip', 'route', 'add', '127.0.0.1/32', 'via', pod.four, 'src', far.four];
        await under.network.run('far', route);
        const calls = [14_001, 8080].map((port) =>
          under.hear({ from: 'far', to: '127.0.0.1', port, timeoutMs: SILENCE_MS }),
        );
        for (const heard of await Promise.all(calls)) t.notMatch(heard, /^(at 14001|application)$/);
        await under.network.run('far', ['ip', 'addr', 'add', '127.0.0.1/8', 'dev', 'lo']);
        await under.shell('sysctl -qw net.ipv4.conf.all.route_localnet=0');
      },
    );

    t.test('a packet for the address of another host is not handed to the proxy', async (t) => {
      await under.network.run('far', ['ip', 'route', 'add', '203.0.113.9/32', 'via', pod.four]);
      await under.network.run('far', ['ip', '-6', 'route', 'add', '2001:db8::9/128', 'via', pod.six]);
      const calls = ['203.0.113.9', '2001:db8::9'].map((to) =>
        under.hear({ from: 'far', to, port: 8080, timeoutMs: SILENCE_MS }),
      );
      for (const heard of await Promise.all(calls)) t.not(heard, 'at 14006');
      t.notOk(queues.lines.some((line) => line.startsWith('failed')));
    });

    t.test(
      'an application that reuses the ports of a call of the proxy does not inherit its mark',
      async (t) => {
        await queues.now('drop');
        await under.listen('far', 7777, 'far');
        const calls = FAMILIES.map(
          (family, index) =>
            ({ from: 'pod', to: far[family], port: 7777, localPort: 24_000 + index }) as const,
        );
        const each = (more: { uid?: number; timeoutMs?: number }): Promise<string[]> =>
          Promise.all(calls.map((call) => under.hear({ ...call, ...more })));
        await under.network.run('far', ['nft', dropping(7777)]);
        t.strictSame(await each({ uid: PROXY_UID, timeoutMs: SILENCE_MS }), ['silence', 'silence']);
        await under.network.run('far', ['nft', 'delete table inet f']);
        for (const heard of await each({ timeoutMs: SILENCE_MS })) t.not(heard, 'far');
        for (const { localPort } of calls) {
          await until('its SYN waits for a verdict', () =>
            queues.lines.some((line) => line.startsWith(`syn out ${localPort}>7777`)),
          );
        }
        t.strictSame(await each({ uid: PROXY_UID }), ['far', 'far'], 'the proxy may');
      },
    );

    t.test('nobody enters by an entry that a call of the proxy left behind', async (t) => {
      // Otherwise conntrack itself refuses the answer, for its sequence number.
      await under.shell('sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1');
      await queues.now('drop');
      await under.network.run('far', ['nft', dropping(7778)]);
      const out = FAMILIES.map(
        (family, index) => ({ from: 'pod', to: far[family], port: 7778, localPort: 25_000 + index }) as const,
      );
      t.strictSame(
        await Promise.all(out.map((call) => under.hear({ ...call, uid: PROXY_UID, timeoutMs: SILENCE_MS }))),
        ['silence', 'silence'],
      );
      await under.network.run('far', ['nft', 'delete table inet f']);
      const back = FAMILIES.map(async (family, index) => {
        const port = 25_000 + index;
        await under.listen('pod', port, 'application');
        return under.hear({ from: 'far', to: pod[family], port, localPort: 7778, timeoutMs: SILENCE_MS });
      });
      for (const heard of await Promise.all(back)) t.not(heard, 'application');
      await under.shell('sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0');
    });

    t.test("another program's translation leads nobody past the queues", async (t) => {
      await queues.now('drop');
      await under.shell(
        `nft "add table inet x { chain i { type nat hook prerouting priority -110; tcp dport 9999 redirect to :8080; };
           chain o { type nat hook output priority -110; meta l4proto tcp ip daddr 192.0.2.1 dnat ip to ${far.four}:8080; }; }"`,
      );
      const [inward, outward] = await Promise.all([
        under.hear({ from: 'far', to: pod.four, port: 9999, timeoutMs: SILENCE_MS }),
        under.hear({ from: 'pod', to: '192.0.2.1', port: 80, timeoutMs: SILENCE_MS }),
      ]);
      t.not(inward, 'application');
      t.not(outward, 'far');
      await under.shell('nft delete table inet x');
    });

    t.test('rules that stand before ours are told by check, and apply puts ours first again', async (t) => {
      await under.shell('iptables -t mangle -I INPUT -p tcp -j ACCEPT');
      t.match(await under.redirect('check', ...MODE), { status: 1, out: /others stand before it/ });
      t.match(await under.redirect('apply', ...MODE), { status: 0 });
      t.match(await under.redirect('check', ...MODE), { status: 0 });
      await under.shell('iptables -t mangle -D INPUT -p tcp -j ACCEPT');
    });

    t.test('an apply that fails leaves the rules as they were', async (t) => {
      const before = await under.ruleset();
      for (const wrong of [
        ['--proxy-uid', '0'],
        ['--exclude-inbound-ports', '14006'],
      ]) {
        t.match(await under.redirect('apply', ...MODE, ...wrong), { status: 2 }, wrong.join(' '));
      }
      t.equal(await under.ruleset(), before);
    });
  });
}

/** nft's word for a host that hears nothing on a port. */
function dropping(port: number): string {
  return `add table inet f { chain c { type filter hook input priority 0; tcp dport ${port} drop; }; }`;
}
