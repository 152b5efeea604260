import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';

const skip = cannotNetns();
t.setTimeout(900_000);

/** Sends for ever, to whoever connects. */
const SOURCE = `
const bytes = Buffer.alloc(1 << 20, 'x');
require('net').createServer((s) => {
  const more = () => { while (s.write(bytes)); };
  s.on('error', () => {}).on('drain', more);
  more();
}).listen(9000, '::', () => console.log('up'));`;

/** Reads for ever, and prints each 100 MB, and how it ended. */
const SINK = (address: string): string => `
let got = 0, told = 0;
const s = require('net').connect(9000, '${address}');
s.on('data', (d) => { got += d.length; if (got - told > 1e8) { told = got; console.log('got ' + got); } });
s.on('error', (e) => console.log(e.code)).on('close', () => process.exit());`;

/** How often a process makes each system call, in a while of its life. */
async function systemCalls(pid: number, ms: number): Promise<Map<string, number>> {
  const strace = spawn('strace', ['-c', '-f', '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  strace.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = once(strace, 'close');
  while (!said.includes('attached') && strace.exitCode === null) await sleep(20);
  await sleep(ms);
  strace.kill('SIGINT');
  await ended;
  const lines = said.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?([a-z_\d]+)$/gm);
  return new Map([...lines].map(([, calls, name]) => [name!, Number(calls)]));
}

t.test('bulk over native relays', { skip }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' } });
  cluster.pod('client', { labels: { drinks: 'beer' } });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'client');
  await cluster.app('server', SOURCE);
  const sink = cluster.network.start('client', [process.execPath, '-e', SINK(server.four)]);
  let said = '';
  sink.stdout!.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = once(sink, 'close');
  while (!said.includes('got')) await sleep(20);

  for (const name of ['client', 'server']) {
    const calls = await systemCalls(cluster.sidecarPid(name), 1_000);
    const splices = calls.get('splice') ?? 0;
    const copies = (calls.get('recvfrom') ?? 0) + (calls.get('sendto') ?? 0);
    t.ok(splices > 20, `the sidecar of the ${name} splices: ${JSON.stringify([...calls])}`);
    t.ok(splices > 20 * copies, 'and does not copy');
  }

  const before = said.length;
  while (said.length === before) await sleep(20);
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'wine'));
  await ended;
  t.match(said, /ECONNRESET\n$/, 'a policy that no longer allows it cuts it in the middle');
  const cut = await cluster.flow('server', (one) => one.reason === 'policy-changed');
  t.match(cut, { verdict: 'deny', source: { pod: 'client' }, policy: 'networkpolicy/demo/server' });
  t.ok(cut.bytes_out > 1e8, 'after a hundred megabytes');
});
