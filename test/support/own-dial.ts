import type { Test } from 'tap';
import { PodUnderTest, PROXY_UID, RESET_PORTS } from '../redirect/pod-under-test.ts';
import { Queues } from '../redirect/queues.ts';
import { ALLOW_LABEL, Cluster } from './sidecars.ts';

type Mode = 'redirect' | 'nfqueue';

/** The proxy's own dial from the address and port of an application's call that was reset: by rules and listeners alone. */
export async function ownDialByRules(t: Test, mode: Mode, tool: string): Promise<void> {
  const under = new PodUnderTest(t, tool);
  await under.start();
  t.match(await under.redirect('apply', '--mode', mode), { status: 0 });
  if (mode === 'nfqueue') await new Queues(under).start('stream');
  for (const [index, family] of (['four', 'six'] as const).entries()) {
    const localPort = RESET_PORTS.first + index;
    const call = { from: 'pod', to: under.far[family], port: 8080, localPort } as const;
    t.equal(await under.hear(call), 'ECONNRESET', `the application is refused, ${family}`);
    t.equal(await under.hear({ ...call, uid: PROXY_UID }), 'ECONNREFUSED', `told at once, ${family}`);
    const other = { ...call, localPort: localPort + 50, uid: PROXY_UID };
    t.equal(await under.hear(other), 'far', `another port leads there, ${family}`);
  }
}

/** Calls from each of these ports; prints what each hears. */
const CALLS = (address: string, ports: readonly number[]): string => `
const heard = [];
const one = ([port, ...rest]) => {
  if (port === undefined) return console.log(JSON.stringify(heard));
  let got = '';
  const s = require('net').connect({ host: '${address}', port: 9000, localPort: port }, () => s.write('ping'));
  s.on('data', (d) => (got += d)).on('error', (e) => (got = e.code)).on('close', () => { heard.push(got); one(rest); });
};
one(${JSON.stringify(ports)});`;

/** A sidecar that has few ports to call from, those of calls that it refused among them. */
export async function ownDialAfterRefusals(t: Test, mode: Mode): Promise<void> {
  const cluster = new Cluster(t);
  // In redirect mode, so that it is called by the stream carrier.
  const server = cluster.pod('server', { labels: { app: 'server' } });
  cluster.pod('client', { mode });
  // Few ports, of which the refused calls take each third: the sidecar cannot but try some of them.
  const [first, last] = [50_000, 50_023];
  cluster.network.sysctl('client', 'net.ipv4.ip_local_port_range', `${first} ${last}`);
  await cluster.startSidecars('server', 'client');
  cluster.network.sysctl('client', 'net.netfilter.nf_conntrack_tcp_timeout_close', '100');
  await cluster.app(
    'server',
    `require('net').createServer((s) => s.on('error', () => {}).once('data', (d) => s.end('got ' + d)))
         .listen(9000, '::', () => console.log('up'))`,
  );
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  const refusedPorts = Array.from({ length: 8 }, (_, at) => first + 3 * at);
  const otherPorts = Array.from({ length: 30 }, (_, at) => 52_000 + at);
  const heard = async (ports: readonly number[]): Promise<string[]> =>
    JSON.parse((await cluster.node('client', CALLS(server.four, ports), 60_000)).out) as string[];
  for (;;) {
    const said = await heard(refusedPorts);
    // One or another port may be taken by a call of the proxy itself.
    if (said.filter((one) => one === 'ECONNRESET').length >= 6 && !said.includes('got ping')) break;
  }
  cluster.remove('policy.yaml');
  for (;;) {
    const [said] = await heard([51_999]);
    if (said === 'got ping') break;
  }
  t.strictSame(
    [...new Set(await heard(otherPorts))],
    ['got ping'],
    'all reach it, and nobody hears a preamble',
  );
}
