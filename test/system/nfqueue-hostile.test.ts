/**
 * NFQUEUE mode against a neighbour who can send any packet: fuzzed ones at volume, captured ones again, forged ends of connections, more than a queue
 * holds, and data where the Proof should be, from the client's own address.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { cannotNetns } from '../support/netns.ts';
import { capturedPackets } from '../support/pcap.ts';
import { RAW_PACKETS } from '../support/raw-packets.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { HASHING_SERVER, type StreamCounts, STREAMING_CLIENT } from '../support/streams.ts';
import { seen } from '../support/tcp-packet.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const LOST = 'countersign_queue_lost_packets_total';
const NFQUEUE = { mode: 'nfqueue' } as const;

/** Packets of all kinds towards the server and, as its answers, towards the client; half of them bear something like a frame. */
const FUZZ = (server: string, client: string, count: number): string =>
  RAW_PACKETS(`
magic = bytes.fromhex('${Buffer.from(FrameFormat.magic).toString('hex')}')
for number in range(${count}):
    length = random.choice([0, 0, 1, 40, 78, 300, 900])
    payload = os.urandom(length)
    if number % 2: payload = magic + bytes([random.randrange(0, 9), random.randrange(0, 9)]) + struct.pack('!H', random.choice([length, random.randrange(65536)])) + payload
    options = random.choice([b'', bytes([2, 4, 5, 180]), os.urandom(4 * random.randrange(0, 10)), bytes([34, 0, 1, 1])])
    flags = random.choice([2, 2, 18, 16, 24, 4, 20, 17, 3, 6, 63, 0, random.randrange(64)])
    port = random.randrange(32768, 61000)
    if number % 3: send('${client}', '${server}', port, 9000, random.getrandbits(32), random.getrandbits(32), flags, options, payload)
    else: send('${server}', '${client}', 9000, port, random.getrandbits(32), random.getrandbits(32), flags, options, payload)
`);

t.test('nfqueue mode against a neighbour with raw sockets', { skip, timeout: 800_000 }, async (t) => {
  const cluster = new Cluster(t);
  const { network } = cluster;
  const server = cluster.pod('server', { labels: { app: 'server' }, ...NFQUEUE });
  const approved = cluster.pod('approved', { labels: { drinks: 'beer' }, ...NFQUEUE });
  cluster.pod('neighbour', { sidecar: false });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'approved');
  await cluster.app('server', HASHING_SERVER(9000));
  const streams = async (count: number): Promise<StreamCounts> => {
    const options = {
      hosts: [server.four],
      port: 9000,
      count,
      atOnce: 5,
      mostBytes: 5_000,
      timeoutMs: 60_000,
    };
    const { out, complaint } = await cluster.node('approved', STREAMING_CLIENT(options), 300_000);
    if (out === '') throw new Error(complaint);
    return JSON.parse(out) as StreamCounts;
  };
  const metric = async (pod: string, name: string): Promise<number> => {
    const { out } = await cluster.curl(pod, 'http://127.0.0.1:14020/metrics');
    return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(out)?.[1]);
  };
  /** The client's sidecar anew: its next call is a first contact, in a SYN. */
  const restarted = async (): Promise<void> => {
    await cluster.kill('approved');
    cluster.launch('approved');
    await cluster.ready('approved');
  };
  /** What conntrack of the server says about a connection from this port of the client to port 9300. */
  const conntrack = async (port: number): Promise<string> =>
    (await network.run('server', ['cat', '/proc/net/nf_conntrack'])).out
      .split('\n')
      .filter((line) => line.includes(`src=${approved.four} dst=${server.four} sport=${port} dport=9300`))
      .join();
  const talkOnce = async () => {
    const told: string[] = [];
    const source = `const s = require('net').connect(9300, '${server.four}', () => console.log('port ' + s.localPort));
      s.on('data', () => console.log('tick')).on('error', (e) => console.log(e.code)).on('end', () => console.log('end'));`;
    const child = network.start('approved', [process.execPath, '-e', source]);
    child.stdout!.on('data', (chunk: Buffer) => told.push(...chunk.toString().trim().split('\n')));
    await until('it runs', () => told.filter((line) => line === 'tick').length > 3);
    const port = Number(/port (\d+)/.exec(told.join('\n'))![1]);
    return { child, told, port, ticks: () => told.filter((line) => line === 'tick').length };
  };
  /** A connection of the client to port 9300 that lasts and is the kernels': its port at the client, and what it heard. */
  const talk = async () => {
    for (;;) {
      const one = await talkOnce();
      if ((await conntrack(one.port)) !== '') return one;
      // A machine at work was late, and the call took the stream carrier.
      one.child.kill('SIGKILL');
      await restarted();
    }
  };
  await cluster.app(
    'server',
    `require('net').createServer((s) => { const timer = setInterval(() => s.write('tick'), 50); s.on('error', () => {}).on('close', () => clearInterval(timer)); })
     .listen(9300, '::', () => console.log('up'))`,
  );

  /** What the application on port 9400 was told: a line for each connection and for whatever it read. */
  const heard: string[] = [];
  const application = network.start('server', [
    process.execPath,
    '-e',
    `require('net').createServer((s) => { console.log('from ' + s.remotePort); s.on('data', (d) => { console.log('read ' + d); s.end('answer'); }).on('error', () => {}); })
     .listen(9400, '::', () => console.log('up'))`,
  ]);
  application.stdout!.on('data', (chunk: Buffer) => heard.push(...chunk.toString().trim().split('\n')));
  await until('the application is there', () => heard.includes('up'));
  const call = async (): Promise<string> =>
    (
      await cluster.node(
        'approved',
        `const s = require('net').connect(9400, '${server.four}'); s.end('question'); s.on('data', (d) => console.log(String(d))).on('error', (e) => console.log(e.code));`,
        60_000,
      )
    ).out;
  /** What passes a pod's device from now on, until \`stop\`. */
  const capture = async (pod: string, name: string) => {
    const file = join(cluster.folder, `${name}.pcap`);
    const child = network.start(pod, ['tcpdump', '-U', '-s', '0', '-i', 'eth0', '-w', file, 'tcp port 9400']);
    await new Promise((resolve) => child.stderr!.once('data', resolve));
    const packets = (): Uint8Array[] => (existsSync(file) ? capturedPackets(file) : []);
    return { packets, stop: () => child.kill('SIGINT') };
  };

  /** Connections that the server's proxy has let in. */
  const admitted = async (): Promise<number> =>
    Object.entries(await cluster.counts('server'))
      .filter(([labels]) => labels.startsWith('inbound allow'))
      .reduce((sum, [, count]) => sum + count, 0);
  t.test(
    'fuzzed packets at volume: what is open goes on, honest streams arrive, and no proxy has a defect',
    async (t) => {
      const open = await talk();
      const begun = open.ticks();
      const fuzz = network.start('neighbour', ['python3', '-c', FUZZ(server.four, approved.four, 15_000)]);
      let said = '';
      fuzz.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
      const { right, wrong, errors } = await streams(100);
      t.equal(wrong, 0);
      // The neighbour forges the client's own address: a call from a port for which he has just opened a connection may be refused.
      t.ok(right >= 95, `${right} of 100: ${JSON.stringify(errors)}`);
      await until('all was sent', () => said.includes('sent'));
      await until('what was open goes on', () => open.ticks() > begun + 5);
      t.strictSame(
        [...new Set(open.told)].filter((line) => !line.startsWith('port')),
        ['tick'],
      );
      for (const pod of ['server', 'approved']) {
        t.notMatch(cluster.log(pod), /defect|"level":"(error|fatal)"/, `${pod} had none`);
        await cluster.ready(pod);
      }
      await until('ten of ten streams arrive', async () => (await streams(10)).right === 10);
      const strangers = cluster
        .flows('server')
        .filter(({ verdict, source }) => verdict === 'allow' && source.pod !== 'approved');
      t.strictSame(strangers, [], 'and nobody came in');
    },
  );

  t.test(
    'a forged end that conntrack believes does not save a connection from a change of policy',
    async (t) => {
      const open = await talk();
      // An ACK anywhere, and a RST behind it: conntrack takes them for a train, the sockets for rubbish.
      const train = RAW_PACKETS(`
for number in range(20):
    at = random.getrandbits(32)
    send('${approved.four}', '${server.four}', ${open.port}, 9300, at, 1, 16)
    send('${approved.four}', '${server.four}', ${open.port}, 9300, at, 1, 20)
`);
      t.equal((await network.run('neighbour', ['python3', '-c', train])).out, 'sent\n');
      t.comment(`conntrack says: ${(await conntrack(open.port)).slice(0, 80)}`);
      const before = open.ticks();
      await until('it goes on for some looks at conntrack', () => open.ticks() > before + 50);
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'water'));
      await until('policy cuts it', () => open.told.includes('ECONNRESET'));
      t.match(
        await cluster.flow(
          'server',
          ({ reason, source }) => reason === 'policy-changed' && source.port === open.port,
        ),
        {
          verdict: 'deny',
        },
      );
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
      await until('calls are served again', async () => (await streams(1)).right === 1);
    },
  );

  t.test(
    'a proxy that stands still: the queue drops what it cannot hold, lets nothing in, and it is counted',
    async (t) => {
      const open = await talk();
      process.kill(cluster.sidecarPid('server'), 'SIGSTOP');
      const flood = RAW_PACKETS(`
for number in range(60000):
    send('${approved.four}', '${server.four}', 1024 + number, 9000, number, 0, 2)
`);
      t.equal(
        (await network.run('neighbour', ['python3', '-c', flood], { timeoutMs: 60_000 })).out,
        'sent\n',
      );
      const before = open.ticks();
      await until('a verified connection does not need it', () => open.ticks() > before + 10);
      const tried = await cluster.node(
        'approved',
        `const s = require('net').connect(9000, '${server.four}'); s.end('x'); s.on('data', () => console.log('in')).on('error', (e) => console.log(e.code)); setTimeout(() => process.exit(), 1500);`,
      );
      t.notMatch(tried.out, /in/, 'a new call does not get in');
      process.kill(cluster.sidecarPid('server'), 'SIGCONT');
      await until('calls are served again', async () => (await streams(1)).right === 1);
      await until('what was lost is counted', async () => (await metric('server', LOST)) > 0);
      t.strictSame(await streams(10), { right: 10, wrong: 0, errors: {} });
    },
  );

  t.test(
    'every packet of two handshakes sent again, while they are open and afterwards, opens nothing and ends nothing',
    async (t) => {
      const wire = await capture('server', 'replay');
      const hellos = (): number =>
        wire
          .packets()
          .filter((one) => seen(one).flags.syn && !seen(one).flags.ack && seen(one).data.length > 0).length;
      await until('a first contact and a resumed call were in SYNs', async () => {
        const before = hellos();
        await restarted();
        const answers = [await call(), await call()];
        t.strictSame(answers, ['answer\n', 'answer\n']);
        return hellos() >= before + 2;
      });
      const ends = (): number => wire.packets().filter((one) => seen(one).flags.fin).length;
      await until('both have ended', () => ends() >= 4);
      wire.stop();
      const packets = wire.packets().map((one) => Buffer.from(one).toString('hex'));
      t.ok(packets.length >= 12, `${packets.length} packets`);
      const again = RAW_PACKETS(`
packets = ${JSON.stringify(packets)}
for number in range(5):
    for packet in packets: again(packet)
    random.shuffle(packets)
`);
      const open = await talk();
      const before = { heard: heard.length, admitted: await admitted() };
      t.equal(
        (await network.run('neighbour', ['python3', '-c', again], { timeoutMs: 60_000 })).out,
        'sent\n',
      );
      await until('a replay is recorded', () =>
        cluster.flows('server').some(({ reason }) => reason === 'replay'),
      );
      const ticks = open.ticks();
      await until('what is open goes on', () => open.ticks() > ticks + 5);
      t.equal(await call(), 'answer\n', 'and calls are served');
      t.equal(heard.length, before.heard + 2, 'the application has heard of that call alone');
      t.equal((await admitted()) - before.admitted, 1, 'and the proxy has let in that call alone');
    },
  );

  t.test(
    "who has a client's address and its Hello, but not its key, gets no byte to the application",
    async (t) => {
      await restarted();
      t.equal(await call(), 'answer\n', 'the neighbours know each other');
      await restarted();
      // The SYN leaves the client, and does not arrive.
      const port = (how: string[]) => network.run('switch', ['ip', 'link', 'set', 'v1', ...how]);
      t.equal((await port(['nomaster'])).status, 0);
      const wire = await capture('approved', 'hello');
      const caller = network.start('approved', [
        process.execPath,
        '-e',
        `require('net').connect(9400, '${server.four}').on('error', () => {})`,
      ]);
      const hello = (): Uint8Array | undefined =>
        wire.packets().find((one) => seen(one).flags.syn && seen(one).data.length > 0);
      await until('the Hello was sent', () => hello() !== undefined);
      caller.kill('SIGKILL');
      wire.stop();
      await cluster.kill('approved');
      t.match(await cluster.countersign('approved', 'redirect', 'remove'), { status: 0 });
      const quiet = ['iptables', '-w', '-I', 'OUTPUT', '-p', 'tcp', '--sport'];
      const { sourcePort, sequence } = seen(hello()!);
      const silent = [...quiet, String(sourcePort), '--tcp-flags', 'RST', 'RST', '-j', 'DROP'];
      t.equal((await network.run('approved', silent)).status, 0, 'the own kernel says nothing');
      t.equal((await port(['master', 'br0'])).status, 0);
      const before = heard.length;
      const attack = RAW_PACKETS(`
heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
def answers(seconds):
    end, found = time.time() + seconds, []
    while time.time() < end:
        if not select.select([heard], [], [], 0.1)[0]: continue
        packet, about = heard.recvfrom(65535)
        if about[2] == 4 or packet[9] != 6 or packet[12:16] != socket.inet_aton('${server.four}'): continue
        at = (packet[0] & 15) * 4
        sport, dport, seq, ack, offset, flags = struct.unpack('!HHIIBB', packet[at:at + 14])
        if (sport, dport) == (9400, ${sourcePort}): found.append((seq, flags, packet[at + (offset >> 4) * 4:]))
    return found
synack = []
for number in range(20):
    again('${Buffer.from(hello()!).toString('hex')}')
    synack = [one for one in answers(1) if one[1] & 18 == 18]
    if synack: break
seq, flags, reply = synack[0]
print('greeted', len(reply) > 0, flush=True)
def data(at, payload, flags=24): send('${approved.four}', '${server.four}', ${sourcePort}, 9400, ${sequence} + 1 + at, seq + 1, flags, b'', payload)
magic = bytes.fromhex('${Buffer.from(FrameFormat.magic).toString('hex')}')
for kind in range(8):
    proof = magic + bytes([1, kind]) + struct.pack('!H', 80) + os.urandom(80)
    data(0, b'', 16)
    data(0, b'forbidden')
    data(1, b'forbidden')
    data(-1, b'forbidden')
    data(0, b'forbidden', 25)
    if kind != 3: continue
    data(-len(proof), proof, 16)
    data(-len(proof), proof + b'forbidden')
    data(0, proof + b'forbidden')
print('answered', [one for one in answers(2) if one[1] & 6 == 0 and one[2] and one[2][:len(magic)] != magic], flush=True)
`);
      const { out, complaint } = await network.run('approved', ['python3', '-c', attack], {
        timeoutMs: 120_000,
      });
      t.equal(out, 'greeted True\nanswered []\nsent\n', complaint);
      const record = await cluster.flow(
        'server',
        ({ source, destination }) => source.port === sourcePort && destination.port === 9400,
      );
      t.match(record, { verdict: 'deny' }, JSON.stringify(record));
      t.equal(heard.length, before, 'the application was told of nobody');
    },
  );
});
