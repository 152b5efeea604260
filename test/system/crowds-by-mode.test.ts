/** Honest clients that look like attackers, as in test/system/attack, in every pair of modes with NFQUEUE: a crowd whose first calls ever come at once. */
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const CROWD = 250;
const ECHO = `require('net').createServer((s) => { s.on('error', () => {}); s.on('data', (d) => s.write(d)); })
  .listen({ port: 9000, host: '::', backlog: 4096 }, () => console.log('up'))`;

/** Opens so many connections at once, says a byte on each, and tells how they went. */
const burst = (host: string): string => `
  const net = require('net'), told = {}, began = Date.now();
  const one = () => new Promise((done) => {
    const s = net.connect(9000, '${host}', () => s.write('x')); let how = 'end';
    s.on('data', () => { how = 'echoed'; s.end(); }).on('error', (e) => { how = e.code; }).on('close', () => { told[how] = (told[how] ?? 0) + 1; done(); });
  });
  Promise.all(Array.from({ length: ${CROWD} }, one)).then(() => console.log(JSON.stringify({ told, ms: Date.now() - began })));`;

for (const [client, mode] of [
  ['nfqueue', 'nfqueue'],
  ['nfqueue', 'redirect'],
  ['redirect', 'nfqueue'],
] as const) {
  t.test(`client in ${client} mode, server in ${mode} mode`, { skip, timeout: 290_000 }, async (t) => {
    const cluster = new Cluster(t);
    const server = cluster.pod('server', { labels: { app: 'server' }, mode });
    cluster.pod('friend', { labels: { drinks: 'beer' }, mode: client });
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
    await cluster.startSidecars('server', 'friend');
    await cluster.app('server', ECHO);
    const { out, complaint } = await cluster.node('friend', burst(server.four), 240_000);
    const { told = {}, ms } = JSON.parse(out === '' ? '{}' : out) as {
      told?: Record<string, number>;
      ms?: number;
    };
    t.comment(`${JSON.stringify(told)} in ${ms} ms`);
    t.ok((told['echoed'] ?? 0) >= 0.99 * CROWD, `${JSON.stringify(told)} ${complaint}`);
    // Where there is too little time for all of them some are late; nobody is taken for somebody else.
    const LATE = ['handshake-timeout', 'handshake-aborted', 'overloaded', 'refused-by-peer'];
    for (const pod of ['friend', 'server']) {
      const wrong = cluster
        .flows(pod)
        .filter(({ verdict, reason }) => verdict === 'deny' && !LATE.includes(reason));
      t.strictSame(wrong, [], pod);
    }
  });
}
