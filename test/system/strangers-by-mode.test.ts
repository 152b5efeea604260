/** Strangers who send rubbish, as in test/system/hostile, to servers in NFQUEUE mode and with peers of the other mode: reset, counted, and a friend is served. */
import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);
const ECHO = `require('net').createServer((s) => { s.on('error', () => {}); s.on('data', (d) => s.write(d)); })
  .listen({ port: 9000, host: '::', backlog: 4096 }, () => console.log('up'))`;

/** Sends these bytes on so many connections, one after the other, and tells how many ended without a byte of an answer from the application. */
const rubbish = (host: string, hex: string, count: number): string => `
  const net = require('net'), bytes = Buffer.from('${hex}', 'hex'); let ended = 0, echoed = 0;
  const one = () => new Promise((done) => {
    const s = net.connect(9000, '${host}', () => s.write(bytes));
    s.on('data', (d) => { if (d.includes(bytes)) echoed++; }).on('error', () => {}).on('close', () => { ended++; done(); });
  });
  (async () => { for (let i = 0; i < ${count}; i++) await one(); console.log(JSON.stringify({ ended, echoed })); })();`;

const MAGIC = Buffer.from(FrameFormat.magic).toString('hex');
const RUBBISH = {
  'version-unsupported': `${MAGIC}090100020000`,
  'frame-malformed': `${MAGIC}0101012c${'00'.repeat(300)}`,
  'unproven-denied': Buffer.from('GET / HTTP/1.1\r\n\r\n').toString('hex'),
};

for (const [client, mode] of [
  ['nfqueue', 'nfqueue'],
  ['nfqueue', 'redirect'],
  ['redirect', 'nfqueue'],
] as const) {
  t.test(`client in ${client} mode, server in ${mode} mode`, { skip, timeout: 300_000 }, async (t) => {
    const cluster = new Cluster(t);
    const server = cluster.pod('server', { labels: { app: 'server' }, mode });
    cluster.pod('friend', { labels: { drinks: 'beer' }, mode: client });
    cluster.pod('stranger', { sidecar: false });
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
    await cluster.startSidecars('server', 'friend');
    await cluster.app('server', ECHO);

    for (const [reason, hex] of Object.entries(RUBBISH)) {
      t.test(`rubbish of a stranger is reset, and counted as ${reason}`, async (t) => {
        const counted = async (): Promise<number> =>
          Object.entries(await cluster.counts('server'))
            .filter(([labels]) => labels.split(' ')[2] === reason)
            .reduce((sum, [, count]) => sum + count, 0);
        const before = await counted();
        const { out, complaint } = await cluster.node('stranger', rubbish(server.four, hex, 40), 200_000);
        t.strictSame(JSON.parse(out === '' ? '{}' : out), { ended: 40, echoed: 0 }, complaint);
        await until('each is counted', async () => (await counted()) - before === 40);
      });
    }

    const friend = `const s = require('net').connect(9000, '${server.four}', () => s.write('hello')); s.on('data', (d) => { console.log(String(d)); s.end(); }).on('error', (e) => console.log(e.code));`;
    t.equal((await cluster.node('friend', friend, 60_000)).out, 'hello\n', 'and a friend is served');
  });
}
