import { once } from 'node:events';
import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster, HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);

const MAGIC = Buffer.from(FrameFormat.magic).toString('hex');
const header = (version: number, type: number, length: number): string =>
  MAGIC + Buffer.of(version, type, length >> 8, length & 255).toString('hex');

/** What a stranger sends, in hex, and the reason that it has to be counted under. */
const CASES: [string, string, string][] = [
  ['a frame of another version', `${header(9, 1, 2)}0000`, 'version-unsupported'],
  ['an unknown type', `${header(1, 99, 2)}0000`, 'frame-malformed'],
  ['a Hello of nothing', header(1, 1, 0), 'frame-malformed'],
  ['a Hello of zeros', header(1, 1, 300) + '00'.repeat(300), 'frame-malformed'],
  ['a frame that announces 64 KiB', header(1, 1, 65_535), 'frame-too-large'],
  ['a Verdict before anything', header(1, 4, 18) + '00'.repeat(18), 'frame-malformed'],
  ['bytes that are no preamble', Buffer.from('GET / HTTP/1.1\r\n\r\n').toString('hex'), 'unproven-denied'],
];

t.test('strangers at volume', { skip }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' } });
  cluster.pod('friend', { labels: { drinks: 'beer' } });
  cluster.pod('stranger');
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'friend');
  await cluster.app('server', HTTP_APP('server'));
  const url = `http://${server.four}:8080/friend`;
  const counted = async (reason: string): Promise<number> => {
    let sum = 0;
    for (const [key, count] of Object.entries(await cluster.counts('server'))) {
      if (key.split(' ')[2] === reason) sum += count;
    }
    return sum;
  };
  const memory = async (): Promise<number> => {
    const { out } = await cluster.curl('server', 'http://127.0.0.1:14020/metrics');
    return Number(/^process_resident_memory_bytes (\d+)/m.exec(out)?.[1]) / (1 << 20);
  };

  for (const [what, hex, reason] of CASES) {
    t.test(`${what}, 300 times: each is reset and counted as ${reason}`, async (t) => {
      const before = await counted(reason);
      const { out } = await cluster.node(
        'stranger',
        `const net = require('net'), bytes = Buffer.from('${hex}', 'hex');
         let ended = 0;
         const one = () => new Promise((done) => {
           const s = net.connect(8080, '${server.four}', () => s.write(bytes));
           s.on('data', () => {}).on('error', () => {}).on('close', () => { ended++; done(); });
         });
         (async () => { for (let i = 0; i < 15; i++) await Promise.all(Array.from({ length: 20 }, one));
           console.log(ended); })();`,
        120_000,
      );
      t.equal(out.trim(), '300');
      // Under another reason than a time's end: nobody was waited for.
      t.equal((await counted(reason)) - before, 300);
    });
  }

  t.test(
    '2,000 connections that say nothing, or half a magic: bounded, and friends are served meanwhile',
    async (t) => {
      const before = await memory();
      const idle = cluster.node(
        'stranger',
        `const net = require('net'); let open = 0;
       for (let i = 0; i < 2000; i++) {
         open++; const s = net.connect(8080, '${server.four}', () => { if (i % 2) s.write(Buffer.from('${MAGIC.slice(0, 8)}', 'hex')); });
         s.on('error', () => {}).on('close', () => open--);
       }
       setInterval(() => { if (open === 0) { console.log('all gone'); process.exit(); } }, 50);`,
        120_000,
      );
      await until('the oldest of a source had to go', async () => (await counted('overloaded')) > 0);
      for (let round = 0; round < 5; round++) {
        t.equal((await cluster.curl('friend', url)).out, 'server got /friend\n');
      }
      t.equal((await idle).out.trim(), 'all gone', 'after their time none of them is open');
      const grown = (await memory()) - before;
      t.ok(grown < 60, `${grown.toFixed(1)} MB more`);
    },
  );

  t.test('a recorded preamble, replayed 200 times, is a replay each time', async (t) => {
    const dump = cluster.network.start('switch', [
      'tcpdump',
      '--immediate-mode',
      '-i',
      'br0',
      '-U',
      '-w',
      '-',
      'tcp',
      'and',
      'dst',
      'port',
      '8080',
    ]);
    const chunks: Buffer[] = [];
    dump.stdout!.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(dump.stderr!, 'data');
    await cluster.curl('friend', url);
    await until('the request was captured', () => Buffer.concat(chunks).includes('GET /friend'));
    dump.kill('SIGINT');
    await once(dump, 'close');
    const { firstConversation } = await import('../../src/demo/capture.ts');
    const recorded = firstConversation(
      Buffer.concat(chunks),
      cluster.addresses.get('friend')!.four,
      server.four,
    );
    t.ok(recorded.length > 100);
    const before = await counted('replay');
    const { out } = await cluster.node(
      'stranger',
      `const net = require('net'), bytes = Buffer.from('${recorded.toString('hex')}', 'hex'); let served = 0;
       const one = () => new Promise((done) => {
         const s = net.connect(8080, '${server.four}', () => s.write(bytes));
         s.on('data', (d) => { if (String(d).includes('server got')) served++; }).on('error', () => {}).on('close', done);
       });
       (async () => { for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 20 }, one)); console.log(served); })();`,
      120_000,
    );
    t.equal(out.trim(), '0');
    t.equal((await counted('replay')) - before, 200);
  });

  t.test('1,000 connections of a friend are held open and answered', async (t) => {
    await cluster.app(
      'server',
      `require('net').createServer((s) => { s.on('error', () => {}); s.on('data', (d) => s.write(d)); }).listen({ port: 9000, host: '::', backlog: 4096 }, () => console.log('up'))`,
    );
    const { out } = await cluster.node(
      'friend',
      `const net = require('net'); let open = 0, echoed = 0; const all = [];
       const one = (i) => new Promise((done) => { const s = net.connect(9000, '${server.four}', () => s.write('x'));
         s.once('data', () => { open++; all.push(s); done(); }); s.on('error', (e) => { console.error(e.code); done(); }); });
       (async () => {
         for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 50 }, (_, j) => one(i * 50 + j)));
         await Promise.all(all.map((s) => new Promise((done) => { s.once('data', () => { echoed++; done(); }); s.write('y'); })));
         console.log(open, echoed); process.exit();
       })();`,
      120_000,
    );
    t.equal(out.trim(), '1000 1000');
  });

  t.equal(
    (await cluster.curl('friend', url)).out,
    'server got /friend\n',
    'and friends are served to the end',
  );
  t.notMatch(cluster.log('server'), /"error"/);
});
