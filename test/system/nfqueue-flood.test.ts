/**
 * NFQUEUE mode under a flood of Hellos that pass the first filter: whoever has seen one Hello has its token and, with the trust bundle, the admission
 * key. Each costs the server what a first contact costs; the rest of the proxy has its turn all the same.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { decodeFrame } from '../../src/handshake/frames.ts';
import { buildHello } from '../../src/handshake/hello.ts';
import { admissionKey, parseTrust } from '../../src/identity/trust.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { buildPacket } from '../../src/nfqueue/packets-build.ts';
import { TCP_FLAG } from '../../src/nfqueue/packets.ts';
import { cannotNetns } from '../support/netns.ts';
import { capturedPackets } from '../support/pcap.ts';
import { RAW_PACKETS } from '../support/raw-packets.ts';
import { ALLOW_LABEL, Cluster, HTTP_APP } from '../support/sidecars.ts';
import { seen } from '../support/tcp-packet.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);
const NFQUEUE = { mode: 'nfqueue' } as const;
const HELLOS = 2_000;

t.test('a flood of well-formed Hellos', { skip, timeout: 500_000 }, async (t) => {
  const cluster = new Cluster(t);
  const { network } = cluster;
  const server = cluster.pod('server', { labels: { app: 'server' }, ...NFQUEUE });
  cluster.pod('approved', { labels: { drinks: 'beer' }, ...NFQUEUE });
  cluster.pod('stranger', { sidecar: false });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'approved');
  await cluster.app('server', HTTP_APP('server'));
  const get = (host: string, from: string) =>
    network.run(host, ['curl', '-sS', '--max-time', '240', from], { timeoutMs: 250_000 });
  const metrics = async (): Promise<string> => (await get('server', 'http://127.0.0.1:14020/metrics')).out;
  const url = `http://${server.four}:8080/x`;

  const file = join(cluster.folder, 'hello.pcap');
  const capture = network.start('server', ['tcpdump', '-U', '-s', '0', '-i', 'eth0', '-w', file, 'tcp']);
  await new Promise((resolve) => capture.stderr!.once('data', resolve));
  t.equal((await get('approved', url)).out, 'server got /x\n');
  const hello = () => {
    const packets = existsSync(file) ? capturedPackets(file) : [];
    const frames = packets.filter((one) => seen(one).flags.syn && !seen(one).flags.ack).map(dataOf);
    return frames.map((one) => decodeFrame(one)).find((frame) => frame.type === 'hello');
  };
  await until('a Hello was seen on the wire', () => hello() !== undefined);
  capture.kill('SIGINT');
  const { token } = hello()!;
  const bundle = parseTrust(readFileSync(join(cluster.folder, 'trust/trust.jwks'), 'utf8'), 'trust');
  const key = admissionKey(bundle, [...bundle.keys.keys()][0]!)!;
  const packets = Array.from({ length: HELLOS }, (_, number) => {
    const payload = buildHello({
      wishes: { encryption: 'none' },
      carrier: 'syn',
      nonce: randomBytes(32),
      ephemeral: NODE_CURVES.generateEphemeral().publicKey,
      destination: { address: server.four, port: 8080 },
      cookie: new Uint8Array(0),
      token,
      offers: [],
      admissionKey: key,
    });
    const packet = buildPacket(
      {
        family: 4,
        sourceAddress: Uint8Array.of(10, 99, 64 + (number >> 6), 1 + (number & 63)),
        sourcePort: 1_024 + number,
        destinationAddress: addressBytes(server.four)!,
        destinationPort: 8080,
      },
      { sequence: number, acknowledgement: 0, flags: TCP_FLAG.syn, window: 65_535, payload },
    );
    return Buffer.from(packet).toString('hex');
  });
  writeFileSync(join(cluster.folder, 'flood'), packets.join('\n'));

  // A thousand a second, until it is ended: more than there is time for, as each costs the server a first contact. A sequence number of its own makes each a new connection.
  const source = RAW_PACKETS(`
packets = [bytearray.fromhex(line) for line in open('${join(cluster.folder, 'flood')}')]
print('begun', flush=True)
for number in range(10**9):
    packet = packets[number % len(packets)]
    packet[24:28] = os.urandom(4)
    packet[36:38] = b'\\0\\0'
    packet[36:38] = struct.pack('!H', checksum(bytes(packet[12:20]) + struct.pack('!HH', 6, len(packet) - 20) + bytes(packet[20:])))
    out(bytes(packet), '${server.four}')
    if number % 10 == 0: time.sleep(0.01)
`);
  const flood = network.start('stranger', ['python3', '-c', source]);
  let said = '';
  flood.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until('it has begun', () => said.includes('begun'));
  const halfOpen = async (): Promise<number> => {
    return Number(/^countersign_half_open_connections (\d+)$/m.exec(await metrics())?.[1]);
  };
  await until('the server answers them', async () => (await halfOpen()) > 100);

  for (let number = 1; number <= 5; number++) {
    t.match(await metrics(), /countersign_connections_total/, `metrics, ${number}`);
  }
  const { out, complaint } = await get('approved', url);
  t.equal(out, 'server got /x\n', `who was here before is served: ${complaint}`);
  t.equal(flood.exitCode, null, 'all the while the flood lasted');
  flood.kill('SIGKILL');
  t.strictSame(
    cluster.flows('server').filter(({ verdict, source }) => verdict === 'allow' && source.pod !== 'approved'),
    [],
    'and nobody else was let in',
  );
});

function dataOf(packet: Uint8Array): Uint8Array {
  return seen(packet).data;
}
