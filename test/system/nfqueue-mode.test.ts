import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { DIGEST_CLIENT, DIGEST_SERVER, type DigestOutcome } from '../support/digest-streams.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
let sockets = 0;
t.setTimeout(600_000);

/** Two clients and a server with queues, and a policy that lets one of the clients in. */
async function world(t: Test) {
  const cluster = new Cluster(t);
  cluster.pod('web', { labels: { app: 'web' }, mode: 'nfqueue' });
  cluster.pod('other', { labels: { app: 'other' }, mode: 'nfqueue' });
  const db = cluster.pod('db', { labels: { app: 'db' }, mode: 'nfqueue' });
  cluster.write('policy.yaml', ALLOW_LABEL('db', 'app', 'web'));
  await cluster.startSidecars('web', 'other');
  const adminSocket = join(tmpdir(), `countersign-test-${process.pid}-${++sockets}.sock`);
  t.teardown(() => rmSync(adminSocket, { force: true }));
  await cluster.startSidecar('db', ['--admin-socket', adminSocket]);
  return { cluster, db, adminSocket };
}

t.test(
  'nfqueue mode: labels decide on the packets of the handshake, over both families',
  { skip },
  async (t) => {
    const { cluster, db, adminSocket } = await world(t);
    await cluster.app('db', DIGEST_SERVER(8080));
    for (const address of [db.four, db.six]) {
      const allowed = await cluster.node('web', DIGEST_CLIENT(address, 8080, 3, 1), 60_000);
      t.match(JSON.parse(allowed.out), { right: 3, wrong: [], errors: {} }, `over ${address}`);
      const denied = await cluster.node('other', DIGEST_CLIENT(address, 8080, 3, 1), 60_000);
      const outcome = JSON.parse(denied.out) as DigestOutcome;
      t.equal(outcome.right, 0);
      t.equal(
        (outcome.errors['ECONNRESET'] ?? 0) + (outcome.errors['ECONNREFUSED'] ?? 0),
        3,
        'reset, not silent',
      );
    }
    const status = await cluster.curl('db', 'http://sidecar/status', '--unix-socket', adminSocket);
    t.match(
      JSON.parse(status.out),
      { ready: true, nfqueue: { queues: /not shown to this user/ } },
      'its user may not read all, and it says so',
    );
    const counts = await cluster.counts('db');
    t.equal(counts['inbound allow policy-allowed proven full'], 2, 'one full handshake for each address');
    t.equal(counts['inbound allow policy-allowed proven resumed'], 4);
    const full = counts['inbound deny policy-denied proven full'] ?? 0;
    const resumed = counts['inbound deny policy-denied proven resumed'] ?? 0;
    t.equal(full + resumed, 6);
    const told = await cluster.counts('other');
    t.equal(told['outbound deny refused-by-peer proven full'], 6);
    const record = await cluster.flow('db', ({ verdict }) => verdict === 'deny');
    t.match(record, {
      direction: 'inbound',
      reason: 'policy-denied',
      peer: 'proven',
      source: { namespace: 'demo', pod: 'other' },
      policy: 'networkpolicy/demo/db',
    });
    t.equal(record.destination.address, db.four);
  },
);

t.test(
  'nfqueue mode: verified connections that no record tells of are cut by the next run',
  { skip },
  async (t) => {
    const { cluster, db } = await world(t);
    await cluster.app(
      'db',
      `require('net').createServer((s) => { s.pipe(s); s.on('error', () => {}); }).listen(9000, '::', () => console.log('up'))`,
    );
    const talker = cluster.network.start('web', [
      `${cluster.program}/.setup/node`,
      '-e',
      `const s = require('net').connect(9000, '${db.four}', () => s.write('hello'));
     s.on('data', (d) => process.stdout.write(d)); s.on('error', (e) => console.log(e.code)); s.on('close', () => process.exit());`,
    ]);
    let heard = '';
    talker.stdout!.on('data', (chunk: Buffer) => (heard += chunk.toString()));
    await until('the echo answers', () => heard === 'hello');
    await cluster.kill('db');
    await cluster.network.run('db', ['rm', `${cluster.folder}/keys/db/flows`]);
    cluster.launch('db');
    await cluster.ready('db');
    await until('the connection is cut', () => talker.exitCode !== null);
    t.match(cluster.log('db'), /"adopted":0,"cut":1/);
  },
);

/** Says something ten times a second, and prints what it hears. */
const TALKER = (address: string): string => `
const s = require('net').connect(9000, '${address}');
const timer = setInterval(() => s.write('x'), 100);
s.on('data', (d) => process.stdout.write(d)).on('error', (e) => console.log(e.code));
s.on('close', () => { clearInterval(timer); process.exit(); });`;

t.test(
  'nfqueue mode: a connection that goes by a pass outlives the sidecar, and a change of policy cuts it',
  { skip },
  async (t) => {
    const { cluster, db, adminSocket } = await world(t);
    await cluster.app(
      'db',
      `require('net').createServer((s) => { s.pipe(s); s.on('error', () => {}); }).listen(9000, '::', () => console.log('up'))`,
    );
    const byPass = async (): Promise<number> => {
      const { out } = await cluster.curl('db', 'http://sidecar/status', '--unix-socket', adminSocket);
      return (JSON.parse(out) as { nfqueue: { byPass: number } }).nfqueue.byPass;
    };
    const talk = async () => {
      const talker = cluster.network.start('web', [`${cluster.program}/.setup/node`, '-e', TALKER(db.four)]);
      const told = { talker, heard: 0 };
      talker.stdout!.on('data', (chunk: Buffer) => (told.heard += chunk.length));
      await until('the echo answers', () => told.heard > 0);
      return told;
    };
    // The first connection is a full handshake, and the second one gives the server its pass.
    let held = await talk();
    for (const deadline = Date.now() + 60_000; (await byPass()) === 0;) {
      t.ok(Date.now() < deadline, 'in time');
      held.talker.kill();
      held = await talk();
    }
    await cluster.kill('db');
    cluster.launch('db');
    await cluster.ready('db');
    const heard = held.heard;
    await until('it goes on', () => held.heard > heard + 2);
    t.match(cluster.log('db'), /"adopted":[1-9]/);
    cluster.write('policy.yaml', ALLOW_LABEL('db', 'app', 'nobody'));
    await until('it is cut', () => held.talker.exitCode !== null);
    const counts = await cluster.counts('db');
    t.ok((counts['inbound deny policy-changed proven resumed'] ?? 0) > 0, 'and says why');
  },
);
