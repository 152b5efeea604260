import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster, HTTP_APP } from '../support/sidecars.ts';

const skip = cannotNetns();
t.setTimeout(120_000);

t.test('sidecars in network namespaces', { skip, timeout: 110_000 }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' } });
  cluster.pod('approved', { labels: { drinks: 'beer' } });
  cluster.pod('other');
  const plain = cluster.pod('plain', { labels: { drinks: 'beer', app: 'plain' }, sidecar: false });
  const url = (path: string): string => `http://${server.four}:8080/${path}`;
  await cluster.startSidecars('server', 'approved', 'other');
  await cluster.app('server', HTTP_APP('server'));
  await cluster.app('plain', HTTP_APP('plain'));

  t.test(
    'without a policy everybody is served, proven where there is a sidecar, on IPv4 and IPv6',
    async (t) => {
      for (const host of [server.four, `[${server.six}]`]) {
        for (const name of ['approved', 'other', 'plain']) {
          const { out } = await cluster.curl(name, `http://${host}:8080/${name}`);
          t.equal(out, `server got /${name}\n`);
          const flow = await cluster.flow(
            'server',
            (one) => one.source.pod === name && one.destination.address === host.replaceAll(/[[\]]/g, ''),
          );
          t.match(flow, {
            verdict: 'allow',
            reason: 'not-isolated',
            peer: name === 'plain' ? 'unproven' : 'proven',
            destination: { namespace: 'demo', pod: 'server', port: 8080 },
          });
        }
      }
      const { out } = await cluster.curl('approved', `http://${plain.four}:8080/out`);
      t.equal(out, 'plain got /out\n', 'and calls to pods without a sidecar pass');
    },
  );

  t.test(
    'a policy that appears refuses the others at once, with a reason, and cuts what they had open',
    async (t) => {
      const held = cluster.node(
        'other',
        `const s = require('net').connect(8080, '${server.four}', () => s.write('GET /held HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'));
       s.on('error', (e) => { console.log(e.code); process.exit(); }).on('data', () => {});
       s.on('end', () => { console.log('end'); process.exit(); });`,
      );
      await sleep(300);
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
      t.equal((await held).out, 'ECONNRESET\n', 'the held connection is cut');
      t.match(await cluster.flow('server', (one) => one.reason === 'policy-changed'), {
        verdict: 'deny',
        source: { pod: 'other' },
        policy: 'networkpolicy/demo/server',
      });
      t.equal((await cluster.curl('approved', url('yes'))).out, 'server got /yes\n');
      const before = Date.now();
      const refused = await cluster.curl('other', url('no'));
      t.equal(refused.out, '');
      t.ok(Date.now() - before < 1_000, 'at once');
      t.match(await cluster.flow('server', (one) => one.reason === 'policy-denied'), {
        verdict: 'deny',
        peer: 'proven',
        source: { pod: 'other' },
        detail: /drinks=beer/,
      });
      t.match(await cluster.flow('other', (one) => one.reason === 'refused-by-peer'), { detail: 'policy' });
    },
  );

  t.test('a client without a sidecar is refused, whatever labels its pod carries', async (t) => {
    const { out } = await cluster.curl('plain', url('plain'));
    t.equal(out, '');
    t.match(await cluster.flow('server', (one) => one.reason === 'unproven-denied'), {
      peer: 'unproven',
      source: { pod: 'plain' },
    });
  });

  t.test('a change of labels and a policy that is taken back take effect', async (t) => {
    cluster.describe('other', { drinks: 'beer' });
    await sleep(1_300);
    t.equal((await cluster.curl('other', url('now'))).out, 'server got /now\n');
    cluster.describe('other', {});
    await sleep(1_300);
    t.equal((await cluster.curl('other', url('again'))).out, '');
    cluster.remove('policy.yaml');
    await sleep(1_300);
    t.equal((await cluster.curl('other', url('free'))).out, 'server got /free\n');
  });

  t.test('a broken policy file keeps the last good state and is told with file and line', async (t) => {
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
    await sleep(1_300);
    cluster.write('policy.yaml', `${ALLOW_LABEL('server', 'drinks', 'beer')}      broken: [`);
    await sleep(1_300);
    t.equal((await cluster.curl('other', url('broken'))).out, '');
    t.match(cluster.log('server'), /policy\.yaml:\d+: .*no YAML/);
    cluster.remove('policy.yaml');
    await sleep(1_300);
  });

  t.test('half-closing clients, resets and a megabyte pass unaltered', async (t) => {
    await cluster.app(
      'server',
      `require('net').createServer({ allowHalfOpen: true }, (s) => {
         const hash = require('crypto').createHash('sha256');
         s.on('data', (d) => hash.update(d)).on('end', () => s.end(hash.digest('hex'))).on('error', () => {});
       }).listen(9000, '::', () => console.log('up'))`,
    );
    const { out } = await cluster.node(
      'approved',
      `const c = require('crypto'), bytes = c.randomBytes(1 << 20);
       const s = require('net').connect({ host: '${server.four}', port: 9000, allowHalfOpen: true });
       let got = '';
       s.on('data', (d) => got += d).on('end', () => {
         console.log(got === c.createHash('sha256').update(bytes).digest('hex') ? 'same' : 'other'); s.end(); });
       s.end(bytes);`,
    );
    t.equal(out.trim(), 'same');
  });

  t.test('a server that speaks first is heard without delay by a client without a sidecar', async (t) => {
    await cluster.app(
      'server',
      `require('net').createServer((s) => { s.on('error', () => {}); s.write('220 ready\\n'); })
         .listen(2525, '::', () => console.log('up'))`,
    );
    const { out } = await cluster.node(
      'plain',
      `(async () => { const times = [];
        for (let i = 0; i < 20; i++) await new Promise((done) => {
          const begin = process.hrtime.bigint();
          const s = require('net').connect(2525, '${server.four}');
          s.on('data', () => { times.push(Number(process.hrtime.bigint() - begin) / 1e6); s.destroy(); done(); });
        });
        console.log(times.sort((a, b) => a - b)[10]); })()`,
    );
    t.ok(Number(out) < 50, `median ${out.trim()} ms`);
  });

  t.test('a capture between the pods shows a preamble before the first application byte', async (t) => {
    const dump = cluster.network.start('switch', [
      'tcpdump',
      '-i',
      'br0',
      '-U',
      '-w',
      '-',
      'tcp',
      'and',
      'port',
      '8080',
    ]);
    const chunks: Buffer[] = [];
    dump.stdout!.on('data', (chunk: Buffer) => chunks.push(chunk));
    await sleep(700);
    await cluster.curl('approved', url('captured'));
    await sleep(500);
    dump.kill('SIGINT');
    await new Promise((resolve) => dump.on('close', resolve));
    const bytes = Buffer.concat(chunks);
    const magic = bytes.indexOf(Buffer.from('9c435453474e0d0a', 'hex'));
    const request = bytes.indexOf('GET /captured');
    t.ok(magic > 0 && request > magic, `${magic} ${request}`);
  });

  t.test('rules that are deleted are noticed, nothing passes meanwhile, and apply heals', async (t) => {
    await cluster.network.run('server', ['nft', 'delete', 'table', 'inet', 'countersign']);
    t.match(await cluster.ready('server', false), /redirect: .*not (redirected|filtered)/);
    t.match(await cluster.countersign('server', 'redirect', 'check'), { status: 1 });
    await cluster.countersign('server', 'redirect', 'apply');
    await cluster.ready('server');
    t.match(await cluster.countersign('server', 'redirect', 'check'), { status: 0 });
    t.equal((await cluster.curl('approved', url('healed'))).out, 'server got /healed\n');
  });

  t.test(
    'a proxy that is killed lets nothing through, in or out, and its successor serves again',
    async (t) => {
      await cluster.kill('server');
      t.equal((await cluster.curl('approved', url('dead'))).out, '');
      t.equal((await cluster.curl('plain', url('dead'))).out, '');
      t.equal((await cluster.curl('server', `http://${plain.four}:8080/dead`)).out, '');
      cluster.launch('server');
      await cluster.ready('server');
      t.equal((await cluster.curl('approved', url('alive'))).out, 'server got /alive\n');
    },
  );

  t.test(
    'nobody reaches the listeners themselves, nor an address of another host through them',
    async (t) => {
      for (const port of [14_006, 14_001]) {
        const { status } = await cluster.curl('plain', `http://${server.four}:${port}/`);
        t.not(status, 0, `port ${port}`);
      }
      // A neighbour sends a packet for a foreign address to the pod: the kernel hands over what REDIRECT catches.
      await cluster.network.run('plain', ['ip', 'route', 'add', '203.0.113.9/32', 'via', server.four]);
      const { status } = await cluster.curl('plain', 'http://203.0.113.9:8080/');
      t.not(status, 0);
      t.equal(
        cluster
          .flows('server')
          .filter((one) => one.destination.address === '203.0.113.9' && one.verdict === 'allow').length,
        0,
      );
    },
  );

  t.test('the counters agree with the records', async (t) => {
    await sleep(1_200);
    const counts = await cluster.counts('other');
    const records: Record<string, number> = {};
    for (const one of cluster.flows('other')) {
      const key = [one.direction, one.verdict, one.reason, one.peer, one.handshake].join(' ');
      records[key] = (records[key] ?? 0) + 1;
    }
    t.strictSame(Object.keys(records).toSorted(), Object.keys(counts).toSorted());
    for (const [key, count] of Object.entries(records)) t.equal(counts[key], count, key);
  });

  t.test('SIGTERM drains: open connections go on, new ones are refused, and the status is 0', async (t) => {
    const held = cluster.node(
      'approved',
      `const s = require('net').connect(8080, '${server.four}', () => {
         setTimeout(() => s.write('GET /late HTTP/1.0\\r\\n\\r\\n'), 700); });
       s.on('error', (e) => console.log(e.code)).on('data', (d) => console.log(String(d).includes('/late') ? 'answered' : '?'));`,
    );
    await sleep(300);
    const ended = cluster.kill('server', 'SIGTERM');
    await sleep(100);
    t.equal((await cluster.curl('other', url('draining'))).out, '');
    t.equal((await held).out, 'answered\n');
    t.equal(await ended, 0, cluster.log('server'));
  });
});
