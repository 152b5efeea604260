import t from 'tap';
import { PodUnderTest, PROXY_UID, RESET_PORTS, TOOLS } from '../redirect/pod-under-test.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';

const skip = cannotNetns();
t.setTimeout(180_000);

for (const tool of TOOLS) {
  t.test(
    `own dial: from the port of an application's reset call it is not led to the proxy, rules by ${tool}`,
    { skip, timeout: 60_000 },
    async (t) => {
      const under = new PodUnderTest(t, tool);
      await under.start();
      await under.redirect('apply');
      for (const [index, family] of (['four', 'six'] as const).entries()) {
        const localPort = RESET_PORTS.first + index;
        const call = { from: 'pod', to: under.far[family], port: 8080, localPort } as const;
        t.equal(await under.hear(call), 'ECONNRESET', `the application is refused, ${family}`);
        t.equal(await under.hear({ ...call, uid: PROXY_UID }), 'ECONNREFUSED', `told at once, ${family}`);
        const other = { ...call, localPort: localPort + 50, uid: PROXY_UID };
        t.equal(await under.hear(other), 'far', `another port leads there, ${family}`);
      }
    },
  );
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

t.test(
  'own dial: after calls that were refused a sidecar reaches the server from ports that those had',
  { skip, timeout: 100_000 },
  async (t) => {
    const cluster = new Cluster(t);
    const server = cluster.pod('server', { labels: { app: 'server' } });
    cluster.pod('client');
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
  },
);
