import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { Cluster, HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);

const AS_PROXY = [
  '--reuid=14014',
  '--regid=14014',
  '--clear-groups',
  '--inh-caps=-all',
  '--bounding-set=-all',
];

/** Opens so many connections at once, sends a byte on each and tells how many were echoed. */
const burst = (host: string, count: number): string => `
  const net = require('net'); let echoed = 0;
  const one = () => new Promise((done) => {
    const s = net.connect(9000, '${host}', () => s.write('x'));
    s.on('data', () => { echoed++; s.end(); }).on('error', () => {}).on('close', done);
  });
  Promise.all(Array.from({ length: ${count} }, one)).then(() => console.log(echoed));`;

for (const mode of ['redirect', 'nfqueue'] as const) {
  t.test(`honest clients that look like attackers, ${mode} mode`, { skip, timeout: 290_000 }, async (t) => {
    const cluster = new Cluster(t);
    const server = cluster.pod('server', { labels: { app: 'server' }, mode });
    cluster.pod('friend', { mode });
    cluster.pod('plain', { sidecar: false });
    await cluster.startSidecars('server', 'friend');
    await cluster.app(
      'server',
      `require('net').createServer((s) => { s.on('error', () => {}); s.on('data', (d) => s.write(d)); })
       .listen({ port: 9000, host: '::', backlog: 4096 }, () => console.log('up'))`,
    );
    await cluster.app('server', HTTP_APP('server'));

    for (const name of ['friend', 'plain']) {
      t.test(`${name} opens 1,000 connections at once, the first ever, and all are served`, async (t) => {
        const { out } = await cluster.node(name, burst(server.four, 1_000), 120_000);
        t.equal(out.trim(), '1000');
        t.equal(cluster.flows('server').filter((one) => one.reason === 'overloaded').length, 0);
      });
    }

    t.test('the metrics of an enrolled pod can be read by an enrolled one', async (t) => {
      const { out } = await cluster.curl('friend', `http://${server.four}:14020/healthz`);
      t.equal(out, 'ok\n');
    });

    t.test(
      'a program that runs as the same user does not see into a sidecar, nor does a core dump',
      async (t) => {
        const other = spawn('setpriv', [...AS_PROXY, 'sleep', '60'], { stdio: 'ignore' });
        t.teardown(() => other.kill());
        // Who may read this may read the memory too (ptrace(2), PTRACE_MODE_READ), and what is not dumpable (prctl(2)) is in no core dump.
        const look = (pid: number) =>
          spawnSync('setpriv', [...AS_PROXY, 'cat', `/proc/${pid}/environ`]).status;
        t.equal(
          readFileSync(`/proc/${cluster.sidecarPid('server')}/cmdline`, 'utf8').includes('proxy'),
          true,
        );
        await until('it sees into another program', () => look(other.pid!) === 0);
        t.not(look(cluster.sidecarPid('server')), 0);
      },
    );

    t.test('a file that breaks is told by readiness, which stays', async () => {
      cluster.write('policy.yaml', 'kind: [');
      await until('it is told', async () =>
        /^ready\nsource: .*policy\.yaml/.test(await cluster.ready('server')),
      );
      cluster.remove('policy.yaml');
      await until('it is mended', async () => (await cluster.ready('server')) === 'ready\n');
    });

    t.test('a server that refused while it started is asked again as soon as it can answer', async (t) => {
      await cluster.kill('server');
      // Policy that cannot be read leaves a sidecar without a view: it hangs up on everybody.
      cluster.write('policy.yaml', 'kind: [');
      cluster.launch('server');
      t.match(await cluster.ready('server', false), /source/);
      const url = `http://${server.four}:8080/again`;
      for (let attempt = 0; attempt < 3; attempt++) t.equal((await cluster.curl('friend', url)).out, '');
      cluster.remove('policy.yaml');
      await cluster.ready('server');
      await sleep(100);
      t.equal((await cluster.curl('friend', url)).out, 'server got /again\n');
      // Its last words have to be read before the folder goes.
      await Promise.all(['server', 'friend'].map((name) => cluster.kill(name)));
    });
  });
}
