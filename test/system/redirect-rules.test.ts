import t from 'tap';
import { PodUnderTest, PROXY_UID, TOOLS } from '../redirect/pod-under-test.ts';
import { cannotNetns } from '../support/netns.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const FAMILIES = ['four', 'six'] as const;
// They share nothing, and much of their time is waiting.
t.jobs = TOOLS.length;
const EXCLUSIONS = [
  ['--exclude-inbound-ports', '9100'],
  ['--exclude-outbound-ports', '9200'],
  ['--exclude-outbound-cidrs', '10.99.255.0/24,fd99::ff00/120'],
].flat();

for (const tool of TOOLS) {
  t.test(`redirect rules by ${tool}`, { skip, timeout: 800_000 }, async (t) => {
    const under = new PodUnderTest(t, tool);
    const { pod, far } = under;
    await under.start();
    const inward = (family: 'four' | 'six', port: number) =>
      under.hear({ from: 'far', to: pod[family], port });
    const outward = (family: 'four' | 'six', port: number, uid?: number) =>
      under.hear({ from: 'pod', to: far[family], port, ...(uid === undefined ? {} : { uid }) });

    t.test('before apply nothing is redirected, and check and probe say so', async (t) => {
      t.equal(await inward('four', 8080), 'application');
      t.match(await under.redirect('check'), { status: 1, out: /missing/ });
      t.strictSame(await under.probe(), [
        '4outbound false',
        '4inbound false',
        '6outbound false',
        '6inbound false',
      ]);
      t.notMatch(await under.ruleset(), /countersign|CSCHK/i, 'check left nothing');
    });

    t.test('after apply calls from and to the pod come to the proxy, on IPv4 and IPv6', async (t) => {
      t.match(await under.redirect('apply'), { status: 0 });
      t.match(await under.redirect('check'), { status: 0, out: /in force/ });
      for (const family of FAMILIES) {
        t.equal(await inward(family, 8080), 'at 14006', `in, ${family}`);
        t.equal(await inward(family, 1), 'at 14006', `in, where nobody listens, ${family}`);
        t.equal(await outward(family, 8080), 'at 14001', `out, ${family}`);
        t.equal(await outward(family, 8080, PROXY_UID), 'far', `the proxy itself, ${family}`);
        t.equal(await under.hear({ from: 'pod', to: pod[family], port: 8080 }), 'application', 'to itself');
        t.equal(
          await under.hear({ from: 'pod', to: pod[family], port: 8080, uid: PROXY_UID }),
          'application',
          `the proxy to the application, ${family}`,
        );
        t.equal(await inward(family, 14_020), 'at 14020', `metrics, ${family}`);
      }
      t.equal(await under.hear({ from: 'pod', to: '127.0.0.1', port: 8080 }), 'application', 'loopback');
    });

    t.test('many short calls pass, also those whose last packets belong to no socket', async (t) => {
      const served = async (host: string, to: string, uid?: number): Promise<string> => {
        const source = `let left = 60, ok = 0; const one = () => {
          const s = require('net').connect(8080, '${to}'); let got = '';
          s.on('data', (d) => got += d).on('error', () => {}).on('close', () => { if (got) ok++; --left ? one() : console.log(ok); }); };
          one();`;
        const child = under.network.start(host, [process.execPath, '-e', source], uid);
        return new Promise((resolve) => child.stdout!.once('data', (said) => resolve(String(said).trim())));
      };
      t.equal(await served('far', pod.six), '60', 'to the pod');
      t.equal(await served('pod', far.four), '60', 'of the pod');
      t.equal(await served('pod', far.six, PROXY_UID), '60', 'of the proxy');
    });

    t.test('three times apply leaves what one leaves', async (t) => {
      const before = await under.ruleset();
      for (let round = 0; round < 2; round++) await under.redirect('apply');
      t.equal(await under.ruleset(), before);
      t.match(await under.redirect('check'), { status: 0 });
    });

    t.test('what print prints is what apply sets', async (t) => {
      const { out } = await under.redirectAs(['setpriv', '--bounding-set=-all', '--inh-caps=-all'], 'print');
      await under.redirect('remove');
      if (tool === 'nft') await under.shell(`nft -f - <<'EOF'\n${out}EOF`);
      else {
        const [four = '', six = ''] = out.split(/^# ip6tables.*\n/m);
        await under.shell(
          `iptables-restore --noflush <<'EOF'\n${four}EOF\nip6tables-restore --noflush <<'EOF'\n${six}EOF`,
        );
      }
      t.match(await under.redirect('check'), { status: 0 });
    });

    t.test('excluded ports and networks stay as they were, in both directions', async (t) => {
      t.match(await under.redirect('apply', ...EXCLUSIONS), { status: 0 });
      t.match(await under.redirect('check', ...EXCLUSIONS), { status: 0 });
      t.match(await under.redirect('check'), { status: 1 }, 'other options are other rules');
      await under.listen('pod', 9100, 'open');
      await under.listen('far', 9200, 'far open');
      await under.listen('switch', 8080, 'switch');
      for (const family of FAMILIES) {
        t.equal(await inward(family, 9100), 'open', family);
        t.equal(await inward(family, 8080), 'at 14006', family);
        t.equal(await outward(family, 9200), 'far open', family);
        t.equal(await outward(family, 8080), 'at 14001', family);
      }
      t.equal(await under.hear({ from: 'pod', to: '10.99.255.254', port: 8080 }), 'switch');
      t.equal(await under.hear({ from: 'pod', to: 'fd99::fffe', port: 8080 }), 'switch');
      await under.redirect('apply');
      t.equal(await inward('four', 9100), 'at 14006', 'a later apply takes them back');
    });

    t.test('UDP is left alone', async (t) => {
      await under.program(
        'far',
        `const s = require('dgram').createSocket('udp6'); s.on('message', (m, from) => s.send('pong', from.port, from.address));
         s.bind(8080, '::', () => console.log('up'));`,
      );
      const client = await under.program(
        'pod',
        `const s = require('dgram').createSocket('udp4'); s.on('message', (m) => { console.log(String(m)); process.exit(); });
         s.send('ping', 8080, '${far.four}'); setTimeout(() => { console.log('silence'); process.exit(1); }, 20_000);`,
      );
      await until('the client has heard something, or nothing', () => client.exitCode !== null);
      t.equal(client.exitCode, 0);
    });

    t.test('apply, check and remove need NET_ADMIN and nothing else', async (t) => {
      const alone = ['setpriv', '--bounding-set=-all,+net_admin,+net_raw', '--inh-caps=-all'];
      t.match(await under.redirectAs(alone, 'apply'), { status: 0 });
      t.match(await under.redirectAs(alone, 'check'), { status: 0 });
      t.match(await under.redirectAs(alone, 'remove'), { status: 0 });
      const none = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];
      t.match(await under.redirectAs(none, 'apply'), { status: 1, complaint: /NET_ADMIN/ });
    });

    t.test("remove leaves nothing, does no harm twice, and others' rules stay", async (t) => {
      await under.shell(
        'nft "add table inet other { chain c { type filter hook input priority 5; tcp dport 4 drop; }; }"',
      );
      await under.shell(
        'iptables -A INPUT -p tcp --dport 5 -j DROP; ip6tables -A OUTPUT -p tcp --dport 6 -j DROP',
      );
      await under.redirect('apply');
      for (let round = 0; round < 2; round++) t.match(await under.redirect('remove'), { status: 0 });
      const left = await under.ruleset();
      t.notMatch(left, /countersign/i);
      for (const own of [/dport 4 drop/, /-A INPUT.*--dport 5/, /-A OUTPUT.*--dport 6/]) t.match(left, own);
      t.equal(await inward('four', 8080), 'application');
    });
  });
}

t.test('redirect apply: rules of another tool are replaced, not doubled', { skip }, async (t) => {
  const under = new PodUnderTest(t, TOOLS.at(-1)!);
  await under.redirect('apply');
  const run = (...words: string[]) =>
    under.network.run('pod', [`${import.meta.dirname}/../../bin/countersign`, 'redirect', ...words]);
  t.match(await run('check'), { status: 0 }, 'check finds the tool that was used');
  t.match(await run('apply'), { status: 0, out: /\(nft/ });
  t.notMatch(await under.shell('iptables-save; ip6tables-save'), /COUNTERSIGN/);
  t.match(await run('remove'), { status: 0 });
  t.notMatch(await under.ruleset(), /countersign/i);
});
