import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { nftPlan } from '../../src/redirect/plan-nft.ts';
import { redirectPlan } from '../../src/redirect/plan.ts';
import { type Call, PodUnderTest, PROXY_UID, SILENCE_MS, TOOLS } from '../redirect/pod-under-test.ts';
import { cannotNetns } from '../support/netns.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const FAMILIES = ['four', 'six'] as const;
// Most of the time is waiting for what must not come.
t.jobs = TOOLS.length;
const ALL_IN_FORCE = ['4outbound true', '4inbound true', '6outbound true', '6inbound true'];

for (const tool of TOOLS) {
  t.test(`redirect attacks, rules by ${tool}`, { skip, timeout: 800_000 }, async (t) => {
    t.test('connections that were open before apply are cut, tracked or not, both ways', async (t) => {
      for (const tracked of [false, true]) {
        const under = new PodUnderTest(t, tool);
        if (tracked) {
          // conntrack begins with the first rule that asks for it.
          await under.shell(
            'nft "add table inet t { chain c { type filter hook input priority 9; ct state new accept; }; }"',
          );
        }
        const held: { readonly said: string[] }[] = [];
        for (const [index, family] of FAMILIES.entries()) {
          held.push(await under.hold('far', under.pod[family], 7000 + index));
          held.push(await under.hold('pod', under.far[family], 7010 + index));
        }
        const have = (index: number, what: string): boolean =>
          held[index]!.said.some((line) => line.startsWith(what));
        for (const index of held.keys()) await until(`${index}: data come`, () => have(index, 'server got'));
        t.notOk([...held.keys()].some((index) => have(index, 'client E')));
        t.match(await under.redirect('apply'), { status: 0 });
        for (const index of held.keys())
          await until(`${index}: the client is told`, () => have(index, 'client E'));
        under.network.close();
      }
    });

    t.test('packets that conntrack calls invalid, and untracked ones, do not pass', async (t) => {
      const under = new PodUnderTest(t, tool);
      const held = [
        await under.hold('far', under.pod.four, 7000),
        await under.hold('pod', under.far.six, 7001),
      ];
      for (const { said } of held)
        await until('data come', () => said.some((line) => line.startsWith('server got')));
      // Not picking up what is under way makes every packet of it invalid.
      await under.shell('sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0');
      await under.redirect('apply');
      for (const { said } of held) {
        await until('no data come any more', async () => {
          const before = said.length;
          await sleep(1_000);
          return said.length === before;
        });
      }
      await under.start();
      await under.shell(
        `nft "add table inet raw { chain i { type filter hook prerouting priority -300; notrack; };
           chain o { type filter hook output priority -300; notrack; }; }"`,
      );
      const calls = FAMILIES.flatMap((family): Call[] => [
        { from: 'far', to: under.pod[family], port: 8080 },
        { from: 'pod', to: under.far[family], port: 8080 },
      ]);
      for (const heard of await unheard(under, calls)) t.notMatch(heard, /^(application|far)$/);
    });

    const under = new PodUnderTest(t, tool);
    const { pod, far } = under;
    await under.start();
    await under.redirect('apply');

    t.test("the proxy's listeners cannot be reached directly, by any address of the pod", async (t) => {
      await under.network.run('pod', ['ip', 'addr', 'add', '10.99.0.77/16', 'dev', 'eth0']);
      await under.network.run('pod', ['ip', 'addr', 'add', 'fd99::77/64', 'dev', 'eth0', 'nodad']);
      const heard = await Promise.all(
        [pod.four, pod.six, '10.99.0.77', 'fd99::77'].flatMap((to) =>
          [14_001, 14_006].map(
            async (port) => `${to} ${port} ${await under.hear({ from: 'far', to, port })}`,
          ),
        ),
      );
      t.equal(heard.length, 8);
      for (const one of heard) t.match(one, /ECONNREFUSED$/);
      t.equal(await under.hear({ from: 'far', to: '10.99.0.77', port: 8080 }), 'at 14006');
    });

    t.test(
      'the listener on loopback is not reached from outside, even where loopback is routed',
      async (t) => {
        await under.shell('sysctl -qw net.ipv4.conf.all.route_localnet=1');
        await under.network.run('far', ['sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1']);
        await under.network.run('far', ['ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo']);
        await under.network.run('far', [
          'ip',
          'route',
          'add',
          '127.0.0.1/32',
          'via',
          pod.four,
          'src',
          far.four,
        ]);
        const calls = [14_001, 8080].map((port): Call => ({ from: 'far', to: '127.0.0.1', port }));
        for (const heard of await unheard(under, calls)) t.notMatch(heard, /^(at 14001|application)$/);
        await under.network.run('far', ['ip', 'addr', 'add', '127.0.0.1/8', 'dev', 'lo']);
      },
    );

    t.test('a packet for the address of another host is not handed to the proxy', async (t) => {
      await under.network.run('far', ['ip', 'route', 'add', '203.0.113.9/32', 'via', pod.four]);
      await under.network.run('far', ['ip', '-6', 'route', 'add', '2001:db8::9/128', 'via', pod.six]);
      const calls = ['203.0.113.9', '2001:db8::9'].map((to): Call => ({ from: 'far', to, port: 8080 }));
      for (const heard of await unheard(under, calls)) t.not(heard, 'at 14006');
    });

    t.test(
      'an application that reuses the ports of a call of the proxy does not inherit its mark',
      async (t) => {
        const drop =
          'add table inet f { chain c { type filter hook input priority 0; tcp dport 7777 drop; }; }';
        for (const [index, family] of FAMILIES.entries()) {
          const localPort = 24_000 + index;
          const call = { from: 'pod', to: far[family], port: 7777, localPort } as const;
          await under.network.run('far', ['nft', drop]);
          t.equal(await under.hear({ ...call, uid: PROXY_UID, timeoutMs: SILENCE_MS }), 'silence');
          await under.network.run('far', ['nft', 'delete table inet f']);
          if (index === 0) await under.listen('far', 7777, 'far');
          t.not(await under.hear({ ...call, timeoutMs: SILENCE_MS }), 'far', family);
          t.equal(await under.hear({ ...call, uid: PROXY_UID }), 'far', `the proxy may, ${family}`);
        }
      },
    );

    t.test('nobody enters by an entry that a call of the proxy left behind', async (t) => {
      // Otherwise conntrack itself refuses the answer, for its sequence number.
      await under.shell('sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1');
      const drop =
        'add table inet f { chain c { type filter hook input priority 0; tcp dport 7778 drop; }; }';
      for (const [index, family] of FAMILIES.entries()) {
        const localPort = 25_000 + index;
        await under.network.run('far', ['nft', drop]);
        const call = { from: 'pod', to: far[family], port: 7778, localPort } as const;
        t.equal(await under.hear({ ...call, uid: PROXY_UID, timeoutMs: SILENCE_MS }), 'silence');
        await under.network.run('far', ['nft', 'delete table inet f']);
        await under.listen('pod', localPort, 'application');
        const back = { from: 'far', to: pod[family], port: localPort, localPort: 7778 } as const;
        t.not(await under.hear({ ...back, timeoutMs: SILENCE_MS }), 'application', family);
      }
    });

    t.test("another program's translation leads past the proxy to nowhere", async (t) => {
      await under.shell(
        `nft "add table inet x { chain i { type nat hook prerouting priority -110; tcp dport 9999 redirect to :8080; };
           chain o { type nat hook output priority -110; meta l4proto tcp ip daddr 192.0.2.1 dnat ip to ${far.four}:8080; }; }"`,
      );
      t.equal(await under.hear({ from: 'far', to: pod.four, port: 9999 }), 'ECONNREFUSED');
      await under.network.run('far', [
        'nft',
        'add table inet n { counter seen { }; chain c { type filter hook input priority 0; tcp dport 8080 counter name seen; }; }',
      ]);
      t.equal(await under.hear({ from: 'pod', to: '192.0.2.1', port: 80 }), 'ECONNREFUSED');
      const seen = await under.network.run('far', ['nft', 'list', 'counters']);
      t.match(seen.out, /packets 0 /, 'no packet left');
      await under.shell('nft delete table inet x');
    });

    t.test('the live test tells the loss of each rule that works, check names it', async (t) => {
      t.strictSame(await under.probe(), ALL_IN_FORCE);
      for (const [chain, lost] of [
        ['outbound', 'outbound'],
        ['outbound_filter', 'outbound'],
        ['inbound_filter', 'inbound'],
        ['inbound', undefined],
      ] as const) {
        await deleteLast(under, tool, chain);
        t.strictSame(
          await under.probe(),
          ALL_IN_FORCE.map((line) =>
            lost !== undefined && line.includes(lost) ? line.replace('true', 'false') : line,
          ),
          chain,
        );
        const check = await under.redirect('check', '-o', 'json');
        t.equal(check.status, 1);
        const { missing, unexpected } = JSON.parse(check.out) as Record<string, string[]>;
        t.equal(missing?.length, tool === 'nft' ? 1 : 2, String(missing));
        t.match(missing?.[0], new RegExp(`${chain}: `, 'i'));
        t.strictSame(unexpected, []);
        if (chain === 'inbound') {
          t.equal(
            await under.hear({ from: 'far', to: pod.four, port: 8080 }),
            'ECONNREFUSED',
            'fails closed',
          );
          t.equal(await under.hear({ from: 'far', to: pod.six, port: 8080 }), 'ECONNREFUSED', 'fails closed');
        }
        if (chain === 'outbound') {
          t.equal(await under.hear({ from: 'pod', to: far.six, port: 8080 }), 'ECONNREFUSED', 'fails closed');
        }
        t.match(await under.redirect('apply'), { status: 0 });
        t.match(await under.redirect('check'), { status: 0 });
      }
    });

    t.test('the live test is not deceived by rules of one family alone', async (t) => {
      if (tool === 'nft')
        await under.shell('nft insert rule inet countersign outbound meta nfproto ipv6 return');
      else await under.shell('ip6tables -t nat -F OUTPUT');
      t.strictSame(await under.probe(), [
        '4outbound true',
        '4inbound true',
        '6outbound false',
        '6inbound true',
      ]);
      t.match(await under.redirect('check'), {
        status: 1,
        out: tool === 'nft' ? /unexpected/ : /IPv6 nat OUTPUT/,
      });
      await under.redirect('apply');
    });

    // Of nft's the table is our own: nobody's rules stand in it.
    if (tool !== 'nft') {
      t.test('rules that stand before ours are told by check', async (t) => {
        await under.shell('iptables -I INPUT -j ACCEPT');
        t.match(await under.redirect('check'), { status: 1, out: /others stand before it/ });
        await under.redirect('apply');
        t.match(await under.redirect('check'), { status: 0 }, 'apply puts ours first again');
        await under.shell('iptables -D INPUT -j ACCEPT');
      });
    }

    t.test('an apply that fails leaves the rules as they were', async (t) => {
      const before = await under.ruleset();
      t.match(await under.redirect('apply', '--proxy-uid', '0'), { status: 2 });
      t.match(await under.redirect('apply', '--exclude-inbound-ports', '14006'), {
        status: 2,
        complaint: /own/,
      });
      t.match(await under.redirect('apply', '--mode', 'sideways'), {
        status: 2,
        complaint: /Allowed choices/,
      });
      const plan = redirectPlan({
        proxyUid: 1,
        excludeInboundPorts: [],
        excludeOutboundPorts: [],
        excludeOutboundCidrs: [],
      });
      await t.rejects(
        under.shell(`nft -f - <<'EOF'\n${nftPlan(plan)}add rule inet countersign nowhere drop\nEOF`),
      );
      t.equal(await under.ruleset(), before);
    });
  });
}

/** What is heard by calls that ought not to be answered. */
function unheard(under: PodUnderTest, calls: readonly Call[]): Promise<string[]> {
  return Promise.all(calls.map((call) => under.hear({ ...call, timeoutMs: SILENCE_MS })));
}

async function deleteLast(under: PodUnderTest, tool: string, chain: string): Promise<void> {
  if (tool === 'nft') {
    await under.shell(
      `nft delete rule inet countersign ${chain} handle $(nft -a list chain inet countersign ${chain} | sed -n 's/.*# handle //p' | tail -1)`,
    );
    return;
  }
  const name = `COUNTERSIGN_${chain.toUpperCase()}`;
  const table = chain.endsWith('filter') ? 'filter' : 'nat';
  for (const program of ['iptables', 'ip6tables']) {
    await under.shell(
      `${program} -t ${table} -D ${name} $(${program} -t ${table} -S ${name} | grep -c "^-A")`,
    );
  }
}
