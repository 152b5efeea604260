/** NFQUEUE mode in networks as they are: SYN cookies, Services by DNAT and back to oneself, ICMP errors, ports used again, Fast Open, data at once. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { AT_ONCE, FAST_OPEN, GREETED_CALLS, GREETER } from '../support/greeted-calls.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { HASHING_SERVER, type StreamCounts, STREAMING_CLIENT } from '../support/streams.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const NFQUEUE = { mode: 'nfqueue' } as const;
const VIP = '10.96.0.10';

const SERVICE = (address: string): string => `
apiVersion: v1
kind: Service
metadata: {name: server, namespace: demo}
spec: {clusterIP: ${VIP}, clusterIPs: [${VIP}], selector: {app: server}, ports: [{name: hash, port: 80, targetPort: 9000}, {name: greet, port: 81, targetPort: 9200}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: server-1, namespace: demo, labels: {kubernetes.io/service-name: server}}
addressType: IPv4
ports: [{name: hash, port: 9000, protocol: TCP}, {name: greet, port: 9200, protocol: TCP}]
endpoints: [{addresses: [${address}], conditions: {ready: true}}]
`;

/** So many labels that no packet has room for a token with them, however it is packed. */
const MANY_LABELS = Object.fromEntries(
  Array.from({ length: 40 }, (_, index) => [`note-${index}`, `x${randomBytes(30).toString('hex')}x`]),
);

const SAME_PORT =
  "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', 33333)); s.connect(TARGET); s.sendall(data)";

t.test('nfqueue mode in networks as they are', { skip, timeout: 800_000 }, async (t) => {
  const cluster = new Cluster(t);
  const { network } = cluster;
  const server = cluster.pod('server', { labels: { app: 'server' }, ...NFQUEUE });
  const approved = cluster.pod('approved', { labels: { drinks: 'beer' }, ...NFQUEUE });
  const other = cluster.pod('other', NFQUEUE);
  const wordy = cluster.pod('wordy', { labels: { drinks: 'beer', ...MANY_LABELS }, ...NFQUEUE });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  cluster.write('service.yaml', SERVICE(server.four));
  await cluster.startSidecars('server', 'approved', 'other', 'wordy');
  await cluster.app('server', HASHING_SERVER(9000));
  const greeter = network.start('server', ['python3', '-c', GREETER(9200)]);
  await new Promise((resolve) => greeter.stdout!.once('data', resolve));

  const streams = async (
    from: string,
    hosts: readonly string[],
    count: number,
    port = 9000,
  ): Promise<StreamCounts> => {
    const options = { hosts, port, count, atOnce: 10, mostBytes: 5_000, timeoutMs: 60_000 };
    const { out, complaint } = await cluster.node(from, STREAMING_CLIENT(options), 300_000);
    if (out === '') throw new Error(complaint);
    return JSON.parse(out) as StreamCounts;
  };
  const calls = async (from: string, count: number, how: string, to = server.four, port = 9200) => {
    const program = GREETED_CALLS(to, port, count, how);
    const { out, complaint } = await network.run(from, ['python3', '-c', program], { timeoutMs: 300_000 });
    if (out === '') throw new Error(complaint);
    return JSON.parse(out) as Record<string, number>;
  };
  /** A sidecar anew: it has forgotten its sessions. */
  const restarted = async (name: string): Promise<void> => {
    await cluster.kill(name);
    cluster.launch(name);
    await cluster.ready(name);
  };
  /** Packets that the first rule for what the network forwards has met. */
  const forwardHits = async (): Promise<number> => {
    const { out } = await network.run('switch', ['iptables', '-w', '-nvxL', 'FORWARD', '1']);
    return Number(out.trim().split(/\s+/)[0]);
  };
  /** A counter of the kernel, of a pod. */
  const counter = async (host: string, name: string): Promise<number> => {
    const { out } = await network.run(host, ['cat', '/proc/net/netstat']);
    const lines = out.split('\n').map((line) => line.split(' '));
    const row = lines.findIndex((line) => line.includes(name));
    return row < 0 ? Number.NaN : Number(lines[row + 1]![lines[row]!.indexOf(name)]);
  };

  t.test('identities that no SYN or SYN-ACK has room for are proven by the stream carrier', async (t) => {
    await cluster.app('wordy', HASHING_SERVER(9000));
    const fallbacks = async (name: string): Promise<number> => {
      const { out } = await cluster.curl(name, 'http://127.0.0.1:14020/metrics');
      return Number(/^countersign_carrier_fallbacks_total (\d+)$/m.exec(out)?.[1]);
    };
    t.strictSame(await streams('wordy', [server.four, server.six], 10), { right: 10, wrong: 0, errors: {} });
    t.match(cluster.log('wordy'), /the Hello is \d+ bytes long and a SYN here has room for \d+/);
    const told = await fallbacks('wordy');
    t.ok(told >= 2 && told < 10, `told once for each address and minute, not for each call: ${told}`);
    t.strictSame(await streams('approved', [wordy.four, wordy.six], 10), { right: 10, wrong: 0, errors: {} });
    // Where the machine is slow the answer may come after the call has turned.
    t.match(cluster.log('approved'), /the SYN-ACK came without a Reply|no answer to \d+ SYNs/);
    t.ok((await fallbacks('approved')) >= 2);
    const counts = await cluster.counts('wordy');
    t.ok(
      (counts['inbound deny identity-too-large unproven none'] ?? 0) >= 1,
      'who has too many labels says so',
    );
    for (const [at, from] of [
      ['server', 'wordy'],
      ['wordy', 'approved'],
    ] as const) {
      const { peer } = await cluster.flow(at, (one) => one.verdict === 'allow' && one.source.pod === from);
      t.equal(peer, 'proven');
    }
  });

  t.test('with SYN cookies alone, first and resumed connections arrive over both families', async (t) => {
    network.sysctl('server', 'net.ipv4.tcp_syncookies', '2');
    const before = await counter('server', 'SyncookiesRecv');
    t.strictSame(await streams('approved', [server.four, server.six], 40), {
      right: 40,
      wrong: 0,
      errors: {},
    });
    t.ok((await counter('server', 'SyncookiesRecv')) - before >= 40, 'each of them by a cookie');
    t.match(await streams('other', [server.four, server.six], 6), { right: 0, wrong: 0 });
    network.sysctl('server', 'net.ipv4.tcp_syncookies', '1');
  });

  t.test('on links with the MTU of tunnels identity is on the handshake all the same', async (t) => {
    const counts = async (): Promise<string> => {
      const { out } = await cluster.curl('approved', 'http://127.0.0.1:14020/metrics');
      return /^countersign_carrier_fallbacks_total (\d+)$/m.exec(out)?.[1] ?? '';
    };
    for (const mtu of ['1450', '1420', '1280']) {
      await network.run('approved', ['ip', 'link', 'set', 'eth0', 'mtu', mtu]);
      await restarted('approved');
      t.strictSame(await streams('approved', [server.four, server.six], 10), {
        right: 10,
        wrong: 0,
        errors: {},
      });
      t.equal(await counts(), '0', `none had to turn to the stream carrier, MTU ${mtu}`);
    }
    await network.run('approved', ['ip', 'link', 'set', 'eth0', 'mtu', '1500']);
  });

  t.test('with the other settings of conntrack, too, first and resumed connections arrive', async (t) => {
    const pods = ['server', 'approved'];
    const settings = ['be_liberal', 'loose'].map((name) => `net.netfilter.nf_conntrack_tcp_${name}`);
    const read = async (name: string) => (await network.run('server', ['sysctl', '-n', name])).out.trim();
    t.strictSame(await Promise.all(settings.map(read)), ['0', '1'], 'what it was until now');
    const set = (liberal: string, loose: string): void => {
      for (const pod of pods) {
        network.sysctl(pod, settings[0]!, liberal);
        network.sysctl(pod, settings[1]!, loose);
      }
    };
    set('1', '0');
    await restarted('approved');
    t.strictSame(await streams('approved', [server.four, server.six], 20), {
      right: 20,
      wrong: 0,
      errors: {},
    });
    t.match(await streams('other', [server.four, server.six], 4), { right: 0, wrong: 0 });
    set('0', '1');
  });

  t.test('data right behind the handshake, while the server speaks first, are what was sent', async (t) => {
    t.strictSame(await calls('approved', 200, AT_ONCE), { right: 200 });
  });

  t.test("an application's own Fast Open with data in its SYN arrives once, and whole", async (t) => {
    // Of both kinds: without any cookie, so that the first SYN has data already.
    network.sysctl('server', 'net.ipv4.tcp_fastopen', String(0x203));
    for (const host of ['approved', 'other']) network.sysctl(host, 'net.ipv4.tcp_fastopen', '5');
    t.strictSame(await calls('approved', 50, FAST_OPEN), { right: 50 });
    const refused = await calls('other', 5, FAST_OPEN);
    t.notOk('right' in refused, JSON.stringify(refused));
  });

  t.test(
    'a port that is used again at once, while the server still waits, is a new connection',
    async (t) => {
      t.strictSame(await calls('approved', 30, SAME_PORT), { right: 30 });
    },
  );

  t.test("a call that the pod's own nat gives another port arrives proven, first and resumed", async (t) => {
    // As nat does by itself where answers to the call's own port would be taken for those of another connection.
    const nat = (how: string): string[] =>
      `iptables -w -t nat ${how} POSTROUTING -p tcp --dport 9200 -j SNAT --to-source ${other.four}:20000-20999`.split(
        ' ',
      );
    t.equal((await network.run('other', nat('-A'))).status, 0);
    cluster.describe('other', { drinks: 'beer' });
    await until('who may call now does', async () => (await calls('other', 1, AT_ONCE))['right'] === 1);
    t.strictSame(await calls('other', 20, AT_ONCE), { right: 20 });
    const { peer, source } = await cluster.flow(
      'server',
      (one) => one.verdict === 'allow' && one.source.pod === 'other',
    );
    t.equal(peer, 'proven');
    t.ok(source.port >= 20_000 && source.port < 21_000, `the server has seen port ${source.port}`);
    cluster.describe('other', {});
    await until(
      'and no more without its label',
      async () => !('right' in (await calls('other', 1, AT_ONCE))),
    );
    t.equal((await network.run('other', nat('-D'))).status, 0);
  });

  t.test('a Service by DNAT leads to its pod, for first and resumed calls, and back to itself', async (t) => {
    await route(cluster, server.four, [approved.four, other.four]);
    const before = await cluster.counts('server');
    t.strictSame(await streams('approved', [VIP], 30, 80), { right: 30, wrong: 0, errors: {} });
    const after = await cluster.counts('server');
    const more = (kind: string): number => (after[kind] ?? 0) - (before[kind] ?? 0);
    t.equal(
      more('inbound allow policy-allowed proven full') + more('inbound allow policy-allowed proven resumed'),
      30,
      'each of them proven on its packets',
    );
    t.match(await streams('other', [VIP], 4, 80), { right: 0, wrong: 0 });
    t.strictSame(await streams('server', [VIP], 10, 80), { right: 10, wrong: 0, errors: {} });
    const record = await cluster.flow('approved', ({ destination }) => destination.pod === 'server');
    t.equal(record.peer, 'proven');
    t.equal(await forwardHits(), 0, 'and to conntrack on the way none of their packets is invalid');
  });

  t.test('ICMP errors end a call that they answer, never open one, and leave open ones alone', async (t) => {
    const reject = (how: '-I' | '-D', ...match: string[]) =>
      network.run('switch', [
        ...['iptables', '-w', how, 'FORWARD', '-p', 'tcp', ...match],
        ...['-j', 'REJECT', '--reject-with', 'icmp-host-unreachable'],
      ]);
    for (const [what, match] of [
      ['the SYN', ['-d', server.four, '--tcp-flags', 'SYN,ACK', 'SYN']],
      ['the SYN-ACK', ['-s', server.four, '--tcp-flags', 'SYN,ACK', 'SYN,ACK']],
      ['data of an open connection', ['-d', server.four, '--tcp-flags', 'SYN,PSH', 'PSH']],
    ] as const) {
      t.equal((await reject('-I', ...match)).status, 0);
      const during = network.start('approved', ['python3', '-c', GREETED_CALLS(VIP, 81, 1, AT_ONCE)]);
      let told = '';
      during.stdout!.on('data', (chunk: Buffer) => (told += chunk.toString()));
      await until(`${what} is answered by ICMP`, async () => (await forwardHits()) > 0);
      t.equal((await reject('-D', ...match)).status, 0);
      await until('the call ends', () => told !== '');
      // A lost SYN ends the call, as the network has said so. A lost SYN-ACK is repeated with the same number, as the server does not hear of it.
      if (what === 'the SYN')
        t.match(told, /right|Error(101|104|110|111|113)|[Tt]imeout/, `${what}: ${told.trim()}`);
      else t.strictSame(JSON.parse(told), { right: 1 }, what);
      t.strictSame(
        await calls('approved', 3, AT_ONCE, VIP, 81),
        { right: 3 },
        `after ${what}, calls go through`,
      );
    }
  });
});

/** The network between does what kube-proxy does by iptables: DNAT, MASQUERADE for who calls itself, and a drop of what conntrack calls invalid. Answers come back that way. */
async function route({ network }: Cluster, server: string, clients: readonly string[]): Promise<void> {
  for (const setting of ['all', 'br0'])
    network.sysctl('switch', `net.ipv4.conf.${setting}.send_redirects`, '0');
  network.sysctl('switch', 'net.ipv4.ip_forward', '1');
  const nat = ['iptables', '-w', '-t', 'nat', '-A'];
  for (const command of [
    'iptables -w -A FORWARD -m conntrack --ctstate INVALID -j DROP'.split(' '),
    [...nat, 'PREROUTING', '-d', VIP, '-p', 'tcp', '--dport', '80', '-j', 'DNAT', '--to', `${server}:9000`],
    [...nat, 'PREROUTING', '-d', VIP, '-p', 'tcp', '--dport', '81', '-j', 'DNAT', '--to', `${server}:9200`],
    [...nat, 'POSTROUTING', '-s', server, '-d', server, '-j', 'MASQUERADE'],
  ]) {
    const { status, complaint } = await network.run('switch', command);
    if (status !== 0) throw new Error(complaint);
  }
  for (const to of clients) {
    await network.run('server', ['ip', 'route', 'add', `${to}/32`, 'via', '10.99.255.254']);
  }
}
