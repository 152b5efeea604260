import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import t from 'tap';
import { cannotNetns, TestNetwork } from '../support/netns.ts';

const skip = cannotNetns();
t.setTimeout(100_000);
const ROOT = join(import.meta.dirname, '../..');
const NODE = process.execPath;

/** Stands in for the proxy: says on which of its ports somebody came, and resets him. */
const LISTENERS = `
for (const port of [14001, 14006, 14020]) for (const host of port === 14001 ? ['127.0.0.1', '::1'] : ['0.0.0.0', '::'])
  require('net').createServer((s) => { s.on('error', () => {}); s.end('at ' + port); })
    .listen({ port, host, ipv6Only: true });
require('net').createServer((s) => s.end('application')).listen(8080, '::');
console.log('up');`;

for (const backend of ['nft', 'iptables'] as const) {
  t.test(`redirect rules by ${backend}`, { skip }, async (t) => {
    const network = new TestNetwork(t);
    const pod = network.host('pod');
    const far = network.host('far');
    const redirect = (...words: string[]) =>
      network.run('pod', [join(ROOT, 'bin/countersign'), 'redirect', ...words, '--backend', backend]);
    const program = async (host: string, source: string, uid?: number): Promise<void> => {
      const child = network.start(host, [NODE, '-e', source], uid);
      await new Promise((resolve) => child.stdout!.once('data', resolve));
    };
    /** What somebody who connects hears. */
    const hear = async (host: string, address: string, port: number, uid?: number): Promise<string> => {
      const child = network.start(
        host,
        [
          NODE,
          '-e',
          `const s = require('net').connect(${port}, '${address}'); s.setTimeout(2000, () => { console.log('silence'); process.exit(); });
           s.on('data', (d) => { console.log(String(d)); process.exit(); }).on('error', (e) => { console.log(e.code); process.exit(); })
            .on('end', () => { console.log('end'); process.exit(); });`,
        ],
        uid,
      );
      const out = await new Promise<string>((resolve) =>
        child.stdout!.once('data', (d) => resolve(String(d))),
      );
      return out.trim();
    };
    await program('pod', LISTENERS);
    await program(
      'far',
      `require('net').createServer((s) => s.end('far')).listen(8080, '::', () => console.log('up'));`,
    );
    await program(
      'pod',
      `require('net').createServer((s) => { s.on('error', () => {}); s.resume(); }).listen(8081, '::', () => console.log('up'));`,
    );
    const old = network.start('far', [
      NODE,
      '-e',
      `const s = require('net').connect(8081, '${pod.four}', () => console.log('connected'));
       setInterval(() => s.write('x'), 50); s.on('error', (e) => { console.log(e.code); process.exit(); });`,
    ]);
    let oldSaid = '';
    old.stdout!.on('data', (chunk: Buffer) => (oldSaid += chunk.toString()));
    await sleep(100);

    t.test('before apply nothing is redirected and check says so', async (t) => {
      t.equal(await hear('far', pod.four, 8080), 'application');
      t.match(await redirect('check'), { status: 1, out: /missing/ });
    });

    t.test('after apply calls from and to the pod come to the proxy, on IPv4 and IPv6', async (t) => {
      for (let round = 0; round < 3; round++) t.match(await redirect('apply'), { status: 0 });
      t.match(await redirect('check'), { status: 0, out: /in force/ });
      for (const family of ['four', 'six'] as const) {
        t.equal(await hear('far', pod[family], 8080), 'at 14006', `in, ${family}`);
        t.equal(await hear('pod', far[family], 8080), 'at 14001', `out, ${family}`);
        t.equal(await hear('pod', far[family], 8080, 14_014), 'far', `the proxy itself, ${family}`);
        t.equal(await hear('pod', pod[family], 8080), 'application', `to itself, ${family}`);
        t.equal(await hear('far', pod[family], 14_020), 'at 14020', `metrics, ${family}`);
        t.equal(
          await hear('far', pod[family], 14_001),
          'at 14006',
          `a listener's port is a port like any other, ${family}`,
        );
      }
    });

    t.test('a connection that was open before is cut', async (t) => {
      await sleep(300);
      t.match(oldSaid, /ECONNRESET/);
    });

    t.test('an unprivileged test tells that the rules are in force, and that they are not', async (t) => {
      const probe = async (): Promise<string[]> => {
        const source = `import { probeRedirect } from '${join(ROOT, 'src/redirect/probe.ts')}';
          console.log(JSON.stringify((await probeRedirect([4, 6])).map((r) => r.family + r.direction + r.inForce)));`;
        const { out, complaint } = await network.run('pod', [NODE, '--input-type=module', '-e', source]);
        if (out === '') throw new Error(complaint);
        return JSON.parse(out) as string[];
      };
      t.strictSame(await probe(), ['4outboundtrue', '4inboundtrue', '6outboundtrue', '6inboundtrue']);
      t.match(await redirect('remove'), { status: 0 });
      t.strictSame(await probe(), ['4outboundfalse', '4inboundfalse', '6outboundfalse', '6inboundfalse']);
    });

    t.test('remove leaves nothing, and does no harm twice', async (t) => {
      t.match(await redirect('remove'), { status: 0 });
      const tables = await network.run('pod', [
        'sh',
        '-c',
        'nft list ruleset; iptables-save; ip6tables-save',
      ]);
      t.notMatch(tables.out, /countersign/i);
      t.equal(await hear('far', pod.four, 8080), 'application');
    });

    t.test("others' rules stay, and a rule that is taken away is named", async (t) => {
      await network.run('pod', [
        'nft',
        'add table inet other { chain c { type filter hook input priority 5; tcp dport 4 drop; }; }',
      ]);
      await redirect('apply');
      const rule =
        backend === 'nft'
          ? ['nft', 'flush', 'chain', 'inet', 'countersign', 'outbound_filter']
          : ['iptables', '-D', 'COUNTERSIGN_OUT_FILTER', '-o', 'lo', '-j', 'RETURN'];
      await network.run('pod', rule);
      const check = await redirect('check', '-o', 'json');
      t.equal(check.status, 1);
      t.ok((JSON.parse(check.out) as { missing: string[] }).missing.length > 0);
      await redirect('remove');
      t.match((await network.run('pod', ['nft', 'list', 'table', 'inet', 'other'])).out, /dport 4 drop/);
    });
  });
}
