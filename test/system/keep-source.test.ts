import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { toolPath, TOOLS } from '../redirect/pod-under-test.ts';
import { cannotNetns, type Ran } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster, PROXY_UID } from '../support/sidecars.ts';

/** Two real sidecars, of which the server's keeps the address of the client, and callers with and without one. */
const skip = cannotNetns();
t.setTimeout(900_000);
const FAMILIES = ['four', 'six'] as const;
const KEEP = '--keep-source-address';

/** Says whom it sees, and then everything that it hears. */
const APP = `
require('net').createServer((s) => { s.on('error', () => {});
  s.write((s.remoteAddress ?? '').replace('::ffff:', '') + ' ' + s.remotePort + '\\n'); s.pipe(s); })
  .listen(8080, '::', () => console.log('up'));`;

/** One call after the other; prints what each heard: whom the application saw, the own port, and how many bytes came back. */
const CALLS = (address: string, count: number, bytes = 5): string => `
const net = require('net');
const once = () => new Promise((done) => {
  let head = '', back = 0, port = 0;
  const s = net.connect(8080, '${address}', () => { port = s.localPort; s.write(Buffer.alloc(${bytes}, 'x')); });
  s.on('error', (error) => done({ error: error.code }));
  s.setTimeout(15_000, () => { done({ error: 'silence' }); s.destroy(); });
  s.on('data', (d) => {
    if (!head.includes('\\n')) { head += d.toString('latin1'); const at = head.indexOf('\\n'); if (at < 0) return; back = head.length - at - 1; head = head.slice(0, at + 1); }
    else back += d.length;
    if (back === ${bytes}) s.end();
  });
  s.on('close', () => done({ seen: head.trim().split(' ')[0], samePort: Number(head.trim().split(' ')[1]) === port, back }));
});
(async () => { const all = []; for (let i = 0; i < ${count} && all.at(-1)?.error !== 'silence'; i++) all.push(await once()); console.log(JSON.stringify(all)); })();`;

interface Heard {
  readonly error?: string;
  readonly seen?: string;
  readonly samePort?: boolean;
  readonly back?: number;
}

t.test("keep source: the application sees the client's address", { skip, timeout: 200_000 }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' } });
  const client = cluster.pod('client', { labels: { drinks: 'beer' } });
  const stranger = cluster.pod('stranger', { sidecar: false });
  const redirect = (path: string, ...words: string[]): Promise<Ran> =>
    cluster.network.run(
      'server',
      ['env', `PATH=${path}`, join(cluster.program, 'bin/countersign'), 'redirect', ...words],
      { timeoutMs: 60_000 },
    );
  const shell = async (script: string): Promise<string> =>
    (await cluster.network.run('server', ['sh', '-c', script])).out;
  const calls = async (from: string, to: string, count: number, bytes?: number): Promise<Heard[]> => {
    const heard = JSON.parse((await cluster.node(from, CALLS(to, count, bytes), 60_000)).out) as Heard[];
    // What comes next would wait as long.
    if (heard.some(({ error }) => error === 'silence')) throw new Error(`${from} hears nothing from ${to}`);
    return heard;
  };
  const summary = (all: readonly Heard[]): string[] => [...new Set(all.map((one) => JSON.stringify(one)))];
  /** Without the port, which the kernel replaces where an earlier dial from it is still in TIME_WAIT (decision 46). */
  const seenAs = (all: readonly Heard[]): string[] => [
    ...new Set(all.map(({ seen, back, error }) => JSON.stringify({ seen, back, error }))),
  ];

  const admin = join(cluster.folder, 'admin');
  mkdirSync(admin);
  chownSync(admin, PROXY_UID, PROXY_UID);
  await cluster.startSidecar('client');
  await cluster.issueIdentity('server');
  await cluster.app('server', APP);

  t.test('without the capability the sidecar ends with the one that it lacks', async (t) => {
    cluster.launch('server', [KEEP]);
    const ended = await new Promise((resolve) => cluster.sidecar('server').once('exit', resolve));
    t.equal(ended, 1);
    t.match(cluster.log('server'), /--keep-source-address: .*NET_ADMIN or NET_RAW/);
    t.match(await cluster.countersign('server', 'proxy', '--pod', 'demo/server', '--mode', 'nfqueue', KEEP), {
      status: 2,
      complaint: /belongs to --mode redirect/,
    });
    t.match(await redirect('/usr/sbin:/usr/bin', 'print', '--mode', 'nfqueue', KEEP), {
      status: 2,
      complaint: /belongs to --mode redirect/,
    });
  });

  let launched = false;
  for (const [index, tool] of TOOLS.entries()) {
    const path = toolPath(t, tool);
    const backend = ['--backend', tool === 'nft' ? 'nft' : 'iptables'];

    t.test(`rules by ${tool}: proven and unproven clients are seen as themselves`, async (t) => {
      t.match(await redirect(path, 'apply', KEEP, ...backend), { status: 0 });
      t.match(await redirect(path, 'check', KEEP, ...backend), { status: 0, out: /in force/ });
      if (!launched) cluster.launch('server', [KEEP, '--admin-socket', join(admin, 'socket')], ['net_raw']);
      launched = true;
      await cluster.ready('server');
      for (const family of FAMILIES) {
        const heard = await calls('client', server[family], 12);
        t.strictSame(
          seenAs(heard),
          [JSON.stringify({ seen: client[family], back: 5 })],
          `full and resumed, ${family}`,
        );
        const unproven = await calls('stranger', server[family], 12);
        t.strictSame(
          seenAs(unproven),
          [JSON.stringify({ seen: stranger[family], back: 5 })],
          `unproven, ${family}`,
        );
        t.ok(
          unproven.filter(({ samePort }) => samePort).length >= 9,
          `its port included, where that is free, ${family}`,
        );
        t.strictSame(
          summary(await calls('server', server[family], 1)),
          [JSON.stringify({ seen: server[family], samePort: true, back: 5 })],
          `the pod to itself, ${family}`,
        );
      }
      t.strictSame(
        seenAs(await calls('stranger', server.four, 1, 5_000_000)),
        [JSON.stringify({ seen: stranger.four, back: 5_000_000 })],
        'much at once',
      );
      t.match(
        await cluster.flow('server', (flow) => flow.bytes_in === 5_000_000 * 1 && flow.peer === 'unproven'),
        { verdict: 'allow', source: { pod: 'stranger' } },
        'answers come back through the sidecar, which counts them',
      );
    });

    t.test(`rules by ${tool}: a refused dial, a cut connection, and a policy work as ever`, async (t) => {
      const far = `require('net').connect(8081, '${server.six}').on('error', (e) => console.log(e.code)).on('close', () => console.log('closed'));`;
      t.match(await cluster.node('stranger', far), { out: /ECONNRESET/ });
      t.match(await cluster.flow('server', (flow) => flow.reason === 'dial-failed'), {
        detail: 'ECONNREFUSED',
      });
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
      for (;;) {
        if ((await calls('stranger', server.four, 1))[0]!.error === 'ECONNRESET') break;
      }
      t.match(await calls('client', server.four, 1), [{ seen: client.four, back: 5 }]);
      cluster.remove('policy.yaml');
      for (;;) {
        if ((await calls('stranger', server.four, 1))[0]!.seen === stranger.four) break;
      }
    });

    t.test(`rules by ${tool}: check sees what is missing, and apply mends it without doubling`, async (t) => {
      await shell('ip rule del priority 14014; ip -6 route flush table 14014');
      t.match(await redirect(path, 'check', KEEP, ...backend), {
        status: 1,
        out: /missing: +IPv4 ip rule 14014: .*\n.*missing: +IPv6 ip route table 14014: local default dev lo/,
      });
      for (let round = 0; round < 2; round++)
        t.match(await redirect(path, 'apply', KEEP, ...backend), { status: 0 });
      t.match(await redirect(path, 'check', KEEP, ...backend), { status: 0 });
      t.equal((await shell('ip rule; ip -6 rule')).match(/14014/g)?.length, 4);
      t.match(await redirect(path, 'check', ...backend), {
        status: 1,
        out: /unexpected: .*ip rule 14014/,
      });
      t.match(await calls('stranger', server.six, 1), [{ seen: stranger.six, back: 5 }]);
    });

    t.test(`rules by ${tool}: remove leaves no rule, no ip rule and no route`, async (t) => {
      if (index === 0)
        t.match(await redirect(path, 'apply', ...backend), { status: 0 }, 'apply without the flag');
      else t.match(await redirect(path, 'remove', ...backend), { status: 0 });
      const routing = 'ip rule; ip -6 rule; ip route show table all; ip -6 route show table all';
      t.notMatch(await shell(routing), /14014|0xc6/);
      t.notMatch(await shell(`nft list ruleset; iptables-save; iptables-legacy-save`), /keep_|KEEP_|0xc6/i);
      await redirect(path, 'remove', ...backend);
      t.notMatch(
        await shell(`nft list ruleset; for f in iptables ip6tables; do $f-save; $f-legacy-save; done`),
        /countersign/i,
      );
    });
  }

  t.test('connections by passes were among them', async (t) => {
    const socket = join(admin, 'socket');
    const { out } = await cluster.curl('server', 'http://admin/status', '--unix-socket', socket);
    t.ok((JSON.parse(out) as { byPass: number }).byPass >= 10);
    const kinds = new Set(cluster.flows('server').map(({ handshake }) => handshake));
    t.ok(kinds.has('full') && kinds.has('resumed') && kinds.has('none'));
  });
});
