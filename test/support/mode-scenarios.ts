import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Test } from 'tap';
import { ALLOW_LABEL, Cluster, HTTP_APP } from './sidecars.ts';
import { until } from './until.ts';

type Mode = 'redirect' | 'nfqueue';

/** In which mode the sidecars of a scenario run. */
export interface Modes {
  readonly client: Mode;
  readonly server: Mode;
}

/** Says a word every 50 ms to whoever connects. */
const TICKER = `require('net').createServer((s) => {
  const timer = setInterval(() => s.write('tick\\n'), 50);
  s.on('error', () => {}).on('close', () => clearInterval(timer));
}).listen(9100, '::', () => console.log('up'))`;

/**
 * What holds for real sidecars in network namespaces whatever mode each of them runs in: who is served and who is refused, told how, what a change
 * does, and what happens without rules, without a proxy and at the end.
 */
export async function modeScenarios(t: Test, { client, server: serverMode }: Modes): Promise<void> {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' }, mode: serverMode });
  cluster.pod('approved', { labels: { drinks: 'beer' }, mode: client });
  cluster.pod('other', { mode: client });
  const plain = cluster.pod('plain', { labels: { drinks: 'beer', app: 'plain' }, sidecar: false });
  const rules = serverMode === 'nfqueue' ? ['--mode', 'nfqueue'] : [];
  await cluster.startSidecars('server', 'approved', 'other');
  await cluster.app('server', HTTP_APP('server'));
  await cluster.app('server', TICKER);
  await cluster.app('plain', HTTP_APP('plain'));

  const get = async (from: string, path: string, seconds = 5): Promise<string> =>
    (await cluster.curl(from, `http://${server.four}:8080/${path}`, '--max-time', String(seconds))).out;
  const served = async (from: string, path = 'now'): Promise<boolean> =>
    (await get(from, path)) === `server got /${path}\n`;
  const isServed = (from: string): Promise<void> => until(`${from} is served`, () => served(from));
  const isRefused = (from: string): Promise<void> =>
    until(`${from} is refused`, async () => !(await served(from)));
  /** A connection that hears ticks, until somebody ends it. @param says what it says again and again */
  const listen = async (
    from: string,
    says = '',
  ): Promise<{ child: ChildProcess; said: () => string; ticks: () => number }> => {
    const source = `const s = require('net').connect(9100, '${server.four}').on('data', (d) => process.stdout.write(d))
      .on('error', (e) => console.log(e.code)).on('close', () => { console.log('closed'); process.exit(); });
      if ('${says}' !== '') setInterval(() => s.write('${says}'), 50);`;
    const child = cluster.network.start(from, [join(cluster.program, '.setup/node'), '-e', source], 1_000);
    let said = '';
    child.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const ticks = (): number => said.split('tick').length - 1;
    await until('it hears the server', () => ticks() > 0);
    return { child, said: () => said, ticks };
  };

  t.test(
    'without a policy everybody is served, proven where there is a sidecar, on IPv4 and IPv6',
    async (t) => {
      for (const host of [server.four, `[${server.six}]`]) {
        for (const name of ['approved', 'other', 'plain']) {
          const { out } = await cluster.curl(name, `http://${host}:8080/${name}`);
          t.equal(out, `server got /${name}\n`);
        }
      }
      for (const address of [server.four, server.six]) {
        for (const name of ['approved', 'other', 'plain']) {
          const flow = await cluster.flow(
            'server',
            ({ source, destination }) => source.pod === name && destination.address === address,
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
    'a policy that appears refuses the others, with a reason, and cuts what they had open',
    async (t) => {
      const held = await listen('other');
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
      await until('the connection is cut', () => held.said().includes('closed'));
      t.match(held.said(), /ECONNRESET/);
      t.match(await cluster.flow('server', (one) => one.reason === 'policy-changed'), {
        verdict: 'deny',
        source: { pod: 'other' },
        policy: 'networkpolicy/demo/server',
      });
      t.ok(await served('approved', 'yes'));
      t.equal(await get('other', 'no'), '');
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
    t.equal(await get('plain', 'plain'), '');
    t.match(await cluster.flow('server', (one) => one.reason === 'unproven-denied'), {
      peer: 'unproven',
      source: { pod: 'plain' },
    });
  });

  t.test('a change of labels, a policy that breaks and one that is taken back take effect', async (t) => {
    cluster.describe('other', { drinks: 'beer' });
    await isServed('other');
    cluster.describe('other', {});
    await isRefused('other');
    cluster.write('policy.yaml', `${ALLOW_LABEL('server', 'drinks', 'beer')}      broken: [`);
    await until('it is told with file and line', () =>
      /policy\.yaml:\d+: .*no YAML/.test(cluster.log('server')),
    );
    t.notOk(await served('other'), 'the last good state is in force');
    t.ok(await served('approved'));
    cluster.remove('policy.yaml');
    await isServed('other');
  });

  t.test('half-closing clients and a megabyte pass unaltered', async (t) => {
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
      60_000,
    );
    t.equal(out.trim(), 'same');
  });

  t.test(
    'a server that speaks first is heard by a client without a sidecar, which nobody waits for',
    async (t) => {
      await cluster.app(
        'server',
        `require('net').createServer((s) => { s.on('error', () => {}); s.write('220 ready\\n'); })
         .listen(2525, '::', () => console.log('up'))`,
      );
      const began = performance.now();
      const { out } = await cluster.node(
        'plain',
        `(async () => { let heard = 0;
        for (let i = 0; i < 20; i++) await new Promise((done) => {
          const s = require('net').connect(2525, '${server.four}');
          s.on('data', () => { heard++; s.destroy(); done(); });
        });
        console.log(heard); })()`,
        60_000,
      );
      t.equal(out.trim(), '20');
      t.ok(performance.now() - began < 40_000, 'three seconds for each would be a minute');
    },
  );

  t.test('a capture between the pods shows a preamble before the first application byte', async (t) => {
    const dump = cluster.network.start('switch', [
      ...['tcpdump', '-i', 'br0', '-U', '--immediate-mode', '-w', '-', 'tcp', 'and', 'port', '8080'],
    ]);
    const chunks: Buffer[] = [];
    let listening = false;
    dump.stderr!.on('data', (chunk: Buffer) => (listening ||= chunk.toString().includes('listening')));
    dump.stdout!.on('data', (chunk: Buffer) => chunks.push(chunk));
    await until('it captures', () => listening);
    t.ok(await served('approved', 'captured'));
    await until('the call was captured', () => Buffer.concat(chunks).includes('GET /captured'));
    dump.kill('SIGINT');
    const bytes = Buffer.concat(chunks);
    const magic = bytes.indexOf(Buffer.from('9c435453474e0d0a', 'hex'));
    t.ok(magic > 0 && bytes.indexOf('GET /captured') > magic);
  });

  t.test(
    'rules that are taken away are noticed, and apply heals and cuts what came in meanwhile',
    async (t) => {
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
      await isRefused('other');
      t.match(await cluster.countersign('server', 'redirect', 'remove'), { status: 0 });
      t.match(await cluster.ready('server', false), /redirect: /);
      t.match(await cluster.countersign('server', 'redirect', 'check', ...rules), { status: 1 });
      const meanwhile = await listen('plain', 'x');
      t.match(await cluster.countersign('server', 'redirect', 'apply', ...rules), { status: 0 });
      await until('who came in without rules is cut', () => meanwhile.said().includes('closed'));
      await cluster.ready('server');
      t.match(await cluster.countersign('server', 'redirect', 'check', ...rules), { status: 0 });
      t.ok(await served('approved', 'healed'));
      t.notOk(await served('other', 'healed'));
      cluster.remove('policy.yaml');
      await isServed('other');
    },
  );

  t.test(
    'a proxy that is killed lets nothing through, in or out, and its successor serves again',
    async (t) => {
      await cluster.kill('server');
      const dead = await Promise.all([
        get('approved', 'dead', 2),
        get('plain', 'dead', 2),
        cluster.curl('server', `http://${plain.four}:8080/dead`, '--max-time', '2').then(({ out }) => out),
      ]);
      t.strictSame(dead, ['', '', '']);
      cluster.launch('server');
      await cluster.ready('server');
      await isServed('approved');
    },
  );

  t.test(
    'nobody reaches the listeners themselves, nor an address of another host through them',
    async (t) => {
      // A neighbour sends a packet for a foreign address to the pod: the kernel hands over what REDIRECT catches.
      await cluster.network.run('plain', ['ip', 'route', 'add', '203.0.113.9/32', 'via', server.four]);
      const statuses = await Promise.all(
        [`${server.four}:14006`, `${server.four}:14001`, '203.0.113.9:8080'].map(
          async (where) => (await cluster.curl('plain', `http://${where}/`, '--max-time', '2')).status,
        ),
      );
      t.notOk(statuses.includes(0), String(statuses));
      t.notOk(
        cluster
          .flows('server')
          .some(({ destination, verdict }) => destination.address === '203.0.113.9' && verdict === 'allow'),
      );
    },
  );

  t.test('the counters agree with the records', async (t) => {
    const recorded = (): Record<string, number> => {
      const records: Record<string, number> = {};
      for (const one of cluster.flows('other')) {
        const key = [one.direction, one.verdict, one.reason, one.peer, one.handshake].join(' ');
        records[key] = (records[key] ?? 0) + 1;
      }
      return records;
    };
    let counts: Record<string, number> = {};
    await until('every connection has its record', async () => {
      counts = await cluster.counts('other');
      const records = recorded();
      return isDeepStrictEqual(counts, records);
    });
    t.ok(Object.keys(counts).length > 2, JSON.stringify(counts));
  });

  t.test('SIGTERM drains: what is open goes on, new calls are refused, and the status is 0', async (t) => {
    const held = await listen('approved');
    const ended = cluster.kill('server', 'SIGTERM');
    await until('it drains', () => cluster.log('server').includes('draining'));
    t.equal(await get('other', 'draining', 2), '');
    const before = held.ticks();
    await until('the open connection goes on', () => held.ticks() > before + 2);
    held.child.kill('SIGKILL');
    t.equal(await ended, 0, cluster.log('server'));
  });
}
