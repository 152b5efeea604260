import { once } from 'node:events';
import { chownSync, mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster, PROXY_UID } from '../support/sidecars.ts';

/** Resumed connections that the data threads of two real sidecars establish, through real redirection. */
const skip = cannotNetns();
t.setTimeout(900_000);

const ECHO = `
require('net').createServer((s) => { s.on('error', () => {}); s.pipe(s); }).listen(8080, '::', () => console.log('up'));`;

/** One after the other: connects, says something, hears it again, closes. Prints how many did, and the last error. */
const CALLS = (address: string, count: number): string => `
const net = require('net');
const once = () => new Promise((done) => {
  const s = net.connect(8080, '${address}', () => s.write('hello'));
  let heard = '';
  s.on('error', (error) => done(error.code)).on('data', (d) => { heard += d; if (heard === 'hello') s.end(); });
  s.on('close', () => done(heard));
});
(async () => {
  let good = 0, last = '';
  for (let i = 0; i < ${count}; i++) { last = await once(); if (last === 'hello') good++; }
  console.log(JSON.stringify({ good, last }));
})();`;

t.test('resumed connections by passes', { skip, timeout: 200_000 }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' } });
  cluster.pod('client', { labels: { drinks: 'beer' } });
  for (const name of ['server', 'client']) {
    mkdirSync(join(cluster.folder, `admin-${name}`));
    chownSync(join(cluster.folder, `admin-${name}`), PROXY_UID, PROXY_UID);
    await cluster.startSidecar(name, ['--admin-socket', join(cluster.folder, `admin-${name}`, 'socket')]);
  }
  await cluster.app('server', ECHO);
  const calls = async (count: number, address = server.four): Promise<{ good: number; last: string }> => {
    const { out } = await cluster.node('client', CALLS(address, count), 60_000);
    return JSON.parse(out) as { good: number; last: string };
  };
  const byPass = async (name: string): Promise<number> => {
    const socket = join(cluster.folder, `admin-${name}`, 'socket');
    const { out } = await cluster.curl(name, 'http://admin/status', '--unix-socket', socket);
    return (JSON.parse(out) as { byPass: number }).byPass;
  };
  const eventually = async (what: string, condition: () => Promise<boolean> | boolean): Promise<void> => {
    const deadline = Date.now() + 30_000;
    while (!(await condition())) {
      if (Date.now() > deadline) throw new Error(`30 s without: ${what}`);
      await sleep(50);
    }
    t.pass(what);
  };

  t.test(
    'all but the first go by a pass on both sides, and are counted and recorded like any other',
    async (t) => {
      for (const [index, address] of [server.four, server.six].entries()) {
        t.strictSame(await calls(50, address), { good: 50, last: 'hello' });
        for (const [name, direction] of [
          ['client', 'outbound'],
          ['server', 'inbound'],
        ] as const) {
          await eventually(`${name}: 50 more connections counted`, async () => {
            const counts = await cluster.counts(name);
            const ofKind = (kind: string): number =>
              counts[`${direction} allow not-isolated proven ${kind}`] ?? 0;
            return ofKind('full') + ofKind('resumed') === 50 * (index + 1);
          });
          t.ok((await byPass(name)) >= 25 * (index + 1), `${name}: most of them by passes`);
          await eventually(
            `${name}: 50 more records`,
            () => cluster.flows(name).filter((flow) => flow.handshake !== 'none').length === 50 * (index + 1),
          );
          const flow = cluster.flows(name).findLast((one) => one.handshake === 'resumed');
          t.match(flow, {
            direction,
            verdict: 'allow',
            reason: 'not-isolated',
            peer: 'proven',
            source: { namespace: 'demo', pod: 'client' },
            destination: { namespace: 'demo', pod: 'server', address, port: 8080 },
            bytes_in: 5,
            bytes_out: 5,
          });
          t.ok(flow!.duration_ms > 0 && flow!.duration_ms < 60_000);
        }
      }
    },
  );

  /** Records of the server that was replaced. */
  let proven = 0;
  /** The server's count once everything that was made so far has been told. */
  const settled = async (made: number): Promise<number> => {
    await eventually(`${made} connections told`, () => {
      return cluster.flows('server').filter((flow) => flow.handshake !== 'none').length >= made;
    });
    return await byPass('server');
  };

  t.test('a policy cuts what a pass has established, and no pass outlives it', async (t) => {
    await calls(2);
    const before = await settled(102);
    const held = cluster.node(
      'client',
      `const s = require('net').connect(8080, '${server.four}', () => s.write('x'));
       s.on('data', () => {}).on('error', (e) => { console.log(e.code); process.exit(); });`,
      60_000,
    );
    await eventually(
      'the connection that is held went by a pass',
      async () => (await byPass('server')) > before,
    );
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'wine'));
    t.equal((await held).out, 'ECONNRESET\n');
    t.match(await cluster.flow('server', (one) => one.reason === 'policy-changed'), {
      verdict: 'deny',
      handshake: 'resumed',
      policy: 'networkpolicy/demo/server',
    });
    t.strictSame(await calls(3), { good: 0, last: 'ECONNRESET' });
    t.match(await cluster.flow('server', (one) => one.reason === 'policy-denied'), { peer: 'proven' });
    t.match(await cluster.flow('client', (one) => one.reason === 'refused-by-peer'), { detail: 'policy' });
    cluster.describe('client', { drinks: 'wine' });
    await eventually('the label is enough', async () => (await calls(1)).good === 1);
    const again = await byPass('server');
    t.equal((await calls(20)).good, 20);
    await eventually('passes are given anew', async () => (await byPass('server')) >= again + 10);
    t.match(
      await cluster.flow('server', (one) => one.reason === 'policy-allowed' && one.handshake === 'resumed'),
      {
        policy: 'networkpolicy/demo/server',
        rule: 1,
      },
    );
  });

  t.test('a server that forgot its sessions is called on in full, and nobody is refused', async (t) => {
    await calls(2);
    const denials = async (): Promise<string[]> =>
      Object.keys(await cluster.counts('client')).filter((labels) => labels.includes(' deny '));
    const before = await denials();
    // The sidecar that starts now writes to the same file; one that ends has written everything.
    await cluster.kill('server', 'SIGTERM');
    proven = cluster.flows('server').filter((flow) => flow.handshake !== 'none').length;
    cluster.launch('server', ['--admin-socket', join(cluster.folder, 'admin-server', 'socket')]);
    await cluster.ready('server');
    t.strictSame(await calls(20), { good: 20, last: 'hello' });
    t.strictSame(await denials(), before, 'no denial at the client');
    const counts = await cluster.counts('server');
    t.strictSame(
      Object.keys(counts).filter((labels) => labels.includes(' deny ')),
      [],
      'and none at the server',
    );
    t.ok(counts['inbound allow policy-allowed proven full']! >= 1);
    await eventually('passes are given again', async () => (await byPass('server')) >= 5);
  });

  t.test('draining waits for what a pass has established, and refuses what is new', async (t) => {
    await calls(2);
    const before = await settled(proven + 22);
    const holder = cluster.network.start('client', [
      join(cluster.program, '.setup/node'),
      '-e',
      `const s = require('net').connect(8080, '${server.four}', () => s.write('x'));
       s.on('data', (d) => { console.log(String(d)); if (String(d) === 'y') s.end(); });
       process.stdin.on('data', () => s.write('y'));`,
    ]);
    await once(holder.stdout!, 'data');
    await eventually('it went by a pass', async () => (await byPass('server')) > before);
    const ended = cluster.kill('server', 'SIGTERM');
    await eventually('what is new is refused', async () => (await calls(1)).good === 0);
    const heard = once(holder.stdout!, 'data');
    holder.stdin!.write('go');
    t.equal(String(((await heard) as [Buffer])[0]), 'y\n', 'the open one is still served');
    t.equal(await ended, 0);
  });
});
