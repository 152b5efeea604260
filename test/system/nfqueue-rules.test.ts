import t, { type Test } from 'tap';
import { PodUnderTest, PROXY_UID, SILENCE_MS, TOOLS } from '../redirect/pod-under-test.ts';
import { Queues } from '../redirect/queues.ts';
import { cannotNetns } from '../support/netns.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const FAMILIES = ['four', 'six'] as const;
// They share nothing, and most of their time is waiting for what must not come.
t.jobs = TOOLS.length;
const MODE = ['--mode', 'nfqueue'];
const EXCLUSIONS = ['--exclude-inbound-ports', '9100', '--exclude-outbound-ports', '9200'];
async function underTest(t: Test, tool: string) {
  const under = new PodUnderTest(t, tool);
  await under.start();
  const queues = new Queues(under);
  const { pod, far } = under;
  return {
    under,
    queues,
    inward: (family: 'four' | 'six', port = 8080, timeoutMs?: number) =>
      under.hear({ from: 'far', to: pod[family], port, ...(timeoutMs === undefined ? {} : { timeoutMs }) }),
    outward: (family: 'four' | 'six', port = 8080, uid?: number) =>
      under.hear({
        from: 'pod',
        to: far[family],
        port,
        ...(uid === undefined ? {} : { uid }),
      }),
  };
}

/** What somebody empties, and which direction has to be closed then; of native nftables any chain of those that let pass. */
interface Emptied {
  readonly what: string;
  readonly closed: readonly ('in' | 'out')[];
}
const emptied = (...chains: string[]): string =>
  chains.map((chain) => `nft flush chain inet countersign ${chain}`).join('; ');
const EMPTIED: Record<'nft' | 'iptables', readonly Emptied[]> = {
  iptables: [
    {
      what: 'for t in iptables ip6tables; do $t -t raw -F PREROUTING; $t -t mangle -F PREROUTING; $t -t mangle -F OUTPUT; done',
      closed: ['in', 'out'],
    },
  ],
  nft: [
    { what: emptied('prerouting', 'queue_14100'), closed: ['in', 'out'] },
    { what: emptied('opening', 'queue_out'), closed: ['in', 'out'] },
    { what: emptied('queue_14101'), closed: ['in'] },
    { what: emptied('queue_in'), closed: ['in'] },
    { what: emptied('input'), closed: ['in', 'out'] },
    { what: emptied('output'), closed: ['in', 'out'] },
  ],
};
/** As who was refused hears it. A reset for a SYN of which conntrack has nothing yet may be lost where it would be queued. */
const REFUSED = ['ECONNREFUSED', 'ECONNRESET', 'silence'];

for (const tool of TOOLS) {
  t.test(`nfqueue rules by ${tool}`, { skip, timeout: 800_000 }, async (t) => {
    const { under, queues, inward, outward } = await underTest(t, tool);

    t.test('without a listener of the queues nothing passes but what is excluded', async (t) => {
      t.match(await under.redirect('apply', ...MODE, ...EXCLUSIONS), { status: 0, out: /mode nfqueue/ });
      await under.listen('pod', 9100, 'open');
      await under.listen('far', 9200, 'far open');
      const silent = await Promise.all(
        FAMILIES.flatMap((family) => [
          under.hear({ from: 'far', to: under.pod[family], port: 8080, timeoutMs: SILENCE_MS }),
          under.hear({ from: 'pod', to: under.far[family], port: 8080, timeoutMs: SILENCE_MS }),
          // The listeners are not called directly.
          under.hear({ from: 'far', to: under.pod[family], port: 14_006, timeoutMs: SILENCE_MS }),
        ]),
      );
      t.strictSame(new Set(silent), new Set(['silence']));
      for (const family of FAMILIES) {
        t.equal(await inward(family, 9100), 'open', `excluded, in, ${family}`);
        t.equal(await outward(family, 9200), 'far open', `excluded, out, ${family}`);
        t.equal(await inward(family, 14_020), 'at 14020', `metrics, ${family}`);
        t.equal(await outward(family, 8080, PROXY_UID), 'far', `the proxy itself, ${family}`);
        t.equal(
          await under.hear({ from: 'pod', to: under.pod[family], port: 8080 }),
          'application',
          'to itself',
        );
      }
      t.match(await under.redirect('apply', ...MODE), { status: 0 });
    });

    t.test('check tells the state of queues and conntrack, and what is not judged', async (t) => {
      const free = await under.redirect('check', ...MODE);
      t.match(free, { status: 0, out: /queue 14100 has no listener: new connections are dropped until/ });
      t.match(free.out, /only TCP is judged: UDP/);
      t.match(free.out, /nf_conntrack_tcp_be_liberal=0: either will do/);
      await queues.start('accept');
      const { out } = await under.redirect('check', ...MODE, '-o', 'json');
      const { findings } = JSON.parse(out) as { findings: { level: string; what: string }[] };
      t.match(findings[0], { level: 'ok', what: /queue 14100 is bound by .*; 0 wait, 0 were dropped/ });
      await under.shell(
        'iptables -t mangle -A OUTPUT -p udp -j MARK --set-mark 1; iptables -A INPUT -p udp -j NFQUEUE --queue-num 14101',
      );
      const foreign = await under.redirect('check', ...MODE);
      t.match(foreign, {
        status: 1,
        out: /problem: +a rule of another program writes into the bits 0xff00000/,
      });
      t.match(foreign.out, /problem: +a rule of another program sends packets into a queue of the proxy/);
      await under.shell(
        'iptables -t mangle -D OUTPUT -p udp -j MARK --set-mark 1; iptables -D INPUT -p udp -j NFQUEUE --queue-num 14101',
      );
      t.match(await under.redirect('check'), { status: 1 }, 'another mode is other rules');
    });

    t.test(
      'every packet of an unverified connection waits for its verdict, in the queue of its direction',
      async (t) => {
        for (const family of FAMILIES) {
          await queues.now('accept');
          t.equal(await inward(family), 'application', family);
          for (const part of [
            /^syn in .*>8080 queue 14101 data 0 mark 0$/,
            /^synack out 8080>.* queue 14101/,
            /^ack in .*>8080 queue 14101/,
            /^ack out 8080>\d+ queue 14101 data 11/,
          ]) {
            t.ok(
              queues.lines.some((line) => part.test(line)),
              `${part} ${family}`,
            );
          }
          await queues.now('accept');
          t.equal(await outward(family), 'far', family);
          for (const part of [
            /^syn out .*>8080 queue 14100/,
            /^synack in 8080>\d+ queue 14100/,
            /^ack in 8080>\d+ queue 14100 data 3/,
          ]) {
            t.ok(
              queues.lines.some((line) => part.test(line)),
              `${part} ${family}`,
            );
          }
        }
      },
    );

    t.test('a verified connection leaves the queues; its next SYN does not', async (t) => {
      for (const family of FAMILIES) {
        let port = family === 'four' ? 40_004 : 40_006;
        const call = (): Promise<string> =>
          under.hear({ from: 'far', to: under.pod[family], port: 8080, localPort: port });
        let again: string;
        do {
          // Where the client happened to close first, its own kernel keeps the ports for a minute.
          port += 10;
          await queues.now('verify');
          t.equal(await call(), 'application');
          t.notOk(
            queues.lines.some((line) => line.startsWith(`ack out 8080>${port}`)),
            'the answer was not queued',
          );
          await queues.now('verify');
          // The same ports: their entry in conntrack is verified still, and closing.
          again = await call();
        } while (again.startsWith('EADDR'));
        t.equal(again, 'application');
        t.ok(
          queues.lines.some((line) => line.startsWith(`syn in ${port}>8080`)),
          'the SYN was queued',
        );
        t.ok(
          queues.lines.some((line) => line.startsWith(`synack out 8080>${port}`)),
          'and what answers it',
        );
        t.ok(
          queues.lines.some((line) => line.startsWith(`ack in ${port}>8080`)),
          'and its third packet: the mark is gone',
        );
      }
    });

    t.test('a verdict sends opening packets to the listeners, in both directions', async (t) => {
      await queues.now('stream');
      for (const family of FAMILIES) {
        t.equal(await inward(family), 'at 14006', `in, ${family}`);
        t.equal(await inward(family, 1), 'at 14006', `in, where nobody listens, ${family}`);
        t.equal(await outward(family), 'at 14001', `out, ${family}`);
      }
      t.ok(
        queues.lines.every((line) => line.startsWith('syn ')),
        'nothing else of them is queued',
      );
      t.strictSame(await under.probe(), [
        '4outbound true',
        '4inbound true',
        '6outbound true',
        '6inbound true',
      ]);
    });

    t.test(
      'a call that turns to the stream carrier while its SYN waits is not reset: its next SYN is redirected',
      async (t) => {
        await queues.now('turn');
        // Addresses behind which nobody is: what is sent there is gone, and nothing says so.
        const nobody = ['10.99.7.7', 'fd99::77'];
        for (const address of nobody) {
          await under.shell(`ip neigh replace ${address} lladdr 02:00:00:00:00:77 dev eth0 nud permanent`);
        }
        const told = await Promise.all(
          nobody.map((to) => under.hear({ from: 'pod', to, port: 8080, timeoutMs: 60_000 })),
        );
        t.strictSame(told, ['at 14001', 'at 14001']);
      },
    );

    t.test('a program of the pod cannot pass by setting a mark', async (t) => {
      await queues.now('drop');
      const tries = [0x0f00_0000, 0x0d00_0000, 0x0c50_0000, 0x0e00_0000].map((mark) => {
        const source = `import socket
s=socket.socket(); s.setsockopt(1,36,${mark}); s.settimeout(1.5)
try: s.connect(('${under.far.four}',8080)); print('through')
except Exception: print('kept out')`;
        const child = under.network.start('pod', ['python3', '-c', source]);
        return new Promise((resolve) => child.stdout!.once('data', (chunk) => resolve(String(chunk).trim())));
      });
      t.strictSame(new Set(await Promise.all(tries)), new Set(['kept out']));
      t.ok(queues.lines.filter((line) => line.startsWith('syn out')).length >= 4);
    });

    t.test(
      'a packet that conntrack is told to pass over leaves no queue without a verdict, nor past nat',
      async (t) => {
        await queues.now('stream');
        const each = (how: string): string =>
          `for t in iptables ip6tables; do for c in PREROUTING OUTPUT; do $t -t raw ${how} $c -p tcp -j CT --notrack; done; done`;
        await under.shell(each('-I'));
        const untracked = await Promise.all(
          FAMILIES.flatMap((family) => [
            under.hear({ from: 'pod', to: under.far[family], port: 8080, timeoutMs: SILENCE_MS }),
            under.hear({ from: 'far', to: under.pod[family], port: 8080, timeoutMs: SILENCE_MS }),
            under.hear({ from: 'far', to: under.pod[family], port: 14_006, timeoutMs: SILENCE_MS }),
          ]),
        );
        t.strictSame(new Set(untracked), new Set(['silence']));
        await under.shell(each('-D'));
        for (const family of FAMILIES) t.equal(await outward(family), 'at 14001', `tracked again, ${family}`);
      },
    );

    t.test('rules that somebody deleted leave others, which refuse', async (t) => {
      await queues.now('accept');
      for (const { what, closed } of EMPTIED[tool === 'nft' ? 'nft' : 'iptables']) {
        await under.shell(what);
        const calls = FAMILIES.flatMap((family) =>
          closed.map((direction) =>
            direction === 'in'
              ? inward(family, 8080, SILENCE_MS)
              : under.hear({ from: 'pod', to: under.far[family], port: 8080, timeoutMs: SILENCE_MS }),
          ),
        );
        const told = await Promise.all(calls);
        t.strictSame(
          told.filter((one) => !REFUSED.includes(one)),
          [],
          what,
        );
        t.equal(told.length, FAMILIES.length * closed.length);
        t.match(await under.redirect('check', ...MODE), { status: 1, out: /missing/ });
        t.match(await under.redirect('apply', ...MODE), { status: 0 });
      }
      t.equal(await inward('four'), 'application');
    });

    t.test(
      'a killed proxy closes: an open verified connection lives, a new one is dropped until the restart',
      async (t) => {
        await queues.now('verify');
        const { said } = await under.hold('far', under.pod.four, 8081);
        await until('data arrives', () => said.some((line) => line.startsWith('server got')));
        await queues.kill();
        const before = said.length;
        await until('the open connection goes on', () => said.length >= before + 10);
        t.equal(await inward('four', 8080, SILENCE_MS), 'silence');
        await queues.start('accept');
        t.equal(await inward('four'), 'application', 'after the restart');
        t.notOk(
          said.some((line) => line.startsWith('client')),
          'nobody was reset',
        );
      },
    );

    t.test(
      'three times apply leaves what one leaves, what print prints is that, and remove leaves nothing',
      async (t) => {
        await under.redirect('apply', ...MODE);
        const before = await under.ruleset();
        for (let round = 0; round < 2; round++) await under.redirect('apply', ...MODE);
        t.equal(await under.ruleset(), before);
        const { out } = await under.redirectAs(
          ['setpriv', '--bounding-set=-all', '--inh-caps=-all'],
          'print',
          ...MODE,
        );
        await under.redirect('remove');
        t.notMatch(await under.ruleset(), /countersign|CSCHK/i);
        if (tool === 'nft') {
          await under.shell(`nft -f - <<'EOF'\n${out}EOF`);
          // Rules that nft cannot write: their chains drop without them.
          const { missing, unexpected } = JSON.parse(
            (await under.redirect('check', ...MODE, '-o', 'json')).out,
          ) as { missing: string[]; unexpected: string[] };
          t.ok(
            missing.length > 0 && missing.every((line) => /^queue_1410[01]: /.test(line)),
            String(missing),
          );
          t.strictSame(unexpected, []);
        } else {
          const [four = '', six = ''] = out.split(/^# ip6tables.*\n/m);
          await under.shell(
            `iptables-restore --noflush <<'EOF'\n${four}EOF\nip6tables-restore --noflush <<'EOF'\n${six}EOF`,
          );
          t.match(await under.redirect('check', ...MODE), { status: 0 });
        }
        t.match(await under.redirect('apply'), { status: 0 }, 'the other mode');
        t.notMatch(await under.ruleset(), /NFQUEUE|queue|COUNTERSIGN_OPENING/);
        await under.redirect('remove');
      },
    );
  });
}
