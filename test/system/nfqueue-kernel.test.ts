/** NFQUEUE mode between real sidecars on the real kernel: what arrives, what never does, and what a crash does. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { decodeFrame } from '../../src/handshake/frames.ts';
import { runs } from '../support/effort.ts';
import { cannotNetns } from '../support/netns.ts';
import { capturedPackets } from '../support/pcap.ts';
import { ALLOW_LABEL, Cluster, HTTP_APP } from '../support/sidecars.ts';
import { HASHING_SERVER, type StreamCounts, STREAMING_CLIENT } from '../support/streams.ts';
import { seen, withData } from '../support/tcp-packet.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(3_000_000);
const NFQUEUE = { mode: 'nfqueue' } as const;
const MAGIC = Buffer.from(FrameFormat.magic);
const STREAMS = runs(200);

t.test('nfqueue mode on the kernel', { skip, timeout: 2_900_000 }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' }, ...NFQUEUE });
  cluster.pod('approved', { labels: { drinks: 'beer' }, ...NFQUEUE });
  cluster.pod('other', NFQUEUE);
  cluster.pod('redirected', { labels: { drinks: 'beer' } });
  const mixed = cluster.addresses.get('redirected')!;
  const plain = cluster.pod('plain', { labels: { drinks: 'beer' }, sidecar: false });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'approved', 'other', 'redirected');
  await cluster.app('server', HTTP_APP('server'));
  await cluster.app('server', HASHING_SERVER(9000));
  await cluster.app('plain', HTTP_APP('plain'));
  await cluster.app('plain', HASHING_SERVER(9000));
  await cluster.app('redirected', HASHING_SERVER(9000));

  const streams = async (
    from: string,
    to: { four: string; six: string },
    count: number,
  ): Promise<StreamCounts> => {
    const options = {
      hosts: [to.four, to.six],
      port: 9000,
      count,
      atOnce: 20,
      mostBytes: 20_000,
      timeoutMs: 60_000,
    };
    const { out, complaint } = await cluster.node(from, STREAMING_CLIENT(options), 1_200_000);
    if (out === '') throw new Error(complaint);
    return JSON.parse(out) as StreamCounts;
  };
  /** Packets that the queues of a pod have seen. */
  const queued = async (name: string): Promise<number> => {
    const { out } = await cluster.network.run(name, ['cat', '/proc/net/netfilter/nfnetlink_queue']);
    return out
      .trim()
      .split('\n')
      .reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[7]), 0);
  };

  t.test(
    `${STREAMS} streams arrive to the byte, with at most four queued packets per side and connection`,
    async (t) => {
      // First contacts: how many of the first ones are that, and how long each takes, is the machine's.
      t.match(await streams('approved', server, 20), { right: 20, wrong: 0 });
      const before = { server: await queued('server'), client: await queued('approved') };
      t.strictSame(await streams('approved', server, STREAMS), { right: STREAMS, wrong: 0, errors: {} });
      const perSide = {
        server: ((await queued('server')) - before.server) / STREAMS,
        client: ((await queued('approved')) - before.client) / STREAMS,
      };
      t.comment(`queued packets per connection: server ${perSide.server}, client ${perSide.client}`);
      t.ok(perSide.server <= 4 && perSide.client <= 4, JSON.stringify(perSide));
      t.ok(perSide.server >= 2 && perSide.client >= 2, 'and at least SYN and SYN-ACK are judged');
      const { right, errors } = await streams('other', server, 20);
      t.equal(right, 0, 'nothing of a refused client arrives');
      t.strictSame(
        Object.keys(errors).filter((code) => !/ECONNRESET|ECONNREFUSED|EPIPE/.test(code)),
        [],
        'and each is told',
      );
    },
  );

  t.test(
    'on the wire: checksums of carried messages are right, and no byte of them goes to who is not enrolled',
    async (t) => {
      const file = join(cluster.folder, 'wire.pcap');
      const capture = cluster.network.start('server', [
        'tcpdump',
        '-U',
        '-s',
        '0',
        '-i',
        'eth0',
        '-w',
        file,
        'tcp',
      ]);
      const second = join(cluster.folder, 'plain.pcap');
      const atPlain = cluster.network.start('plain', [
        'tcpdump',
        '-U',
        '-s',
        '0',
        '-i',
        'eth0',
        '-w',
        second,
        'tcp',
      ]);
      for (const one of [capture, atPlain]) await new Promise((resolve) => one.stderr!.once('data', resolve));
      // Forgets its sessions, so that Proofs and Verdicts are on the wire again.
      await cluster.kill('approved');
      cluster.launch('approved');
      await cluster.ready('approved');
      t.match(await streams('approved', server, 20), { right: 20, wrong: 0 });
      t.match(await streams('approved', plain, 20), { right: 20, wrong: 0 });
      t.match(await streams('approved', mixed, 20), { right: 20, wrong: 0 }, 'to a redirecting peer');
      t.match(await streams('redirected', server, 20), { right: 20, wrong: 0 });
      t.match(await streams('plain', server, 4), { right: 0, wrong: 0 });
      await until(
        'the end was captured',
        () => capturedPackets(second).filter((one) => seen(one).flags.fin).length >= 40,
      );
      capture.kill('SIGINT');
      atPlain.kill('SIGINT');
      const carried = capturedPackets(file).filter((one) =>
        Buffer.from(seen(one).data).subarray(0, MAGIC.length).equals(MAGIC),
      );
      const kinds = new Set(
        carried.map((one) => `${seen(one).flags.syn ? 'syn' : ''}${seen(one).flags.ack ? 'ack' : ''}`),
      );
      t.strictSame([...kinds].toSorted(), ['ack', 'syn', 'synack']);
      const wayOf = (one: Uint8Array): string => `${seen(one).sourcePort} ${seen(one).destinationPort}`;
      // A call that was late took the stream carrier, whose Fast Open bears a preamble in a SYN, too.
      const isSynCarrier = (one: Uint8Array): boolean => {
        const frame = decodeFrame(seen(one).data);
        return frame.type !== 'hello' || frame.carrier === 'syn';
      };
      const onSyns = new Set(carried.filter((one) => seen(one).flags.syn && isSynCarrier(one)).map(wayOf));
      let acks = 0;
      for (const one of carried) {
        const { flags, data } = seen(one);
        // Packets of the stream carrier are not ours to finish: the device does it.
        if (!onSyns.has(wayOf(one))) continue;
        if (!flags.syn) acks++;
        t.equal(hash(one), hash(withData(one, data)), 'lengths and checksums are right');
      }
      t.ok(acks > 0, `Proofs and Verdicts among them: ${acks}`);
      const toPlain = capturedPackets(second);
      t.ok(toPlain.length > 100);
      t.notOk(
        toPlain.some((one) => Buffer.from(one).includes(MAGIC)),
        'who is not enrolled gets no byte of it',
      );
    },
  );

  t.test(
    'kill -9 in a transfer: it goes on to the byte, a new call waits for the restart, and policy cuts what lived',
    async (t) => {
      await cluster.app(
        'server',
        `require('net').createServer((s) => { const timer = setInterval(() => s.write('tick'), 50); s.on('error', () => {}).on('close', () => clearInterval(timer)); })
         .listen(9100, '::', () => console.log('up'))`,
      );
      const told: string[] = [];
      const clients = [server.four, server.six].map((host) => {
        const source = `const s = require('net').connect(9100, '${host}'); s.on('data', () => console.log('tick')).on('error', (e) => console.log(e.code)).on('end', () => console.log('end'));`;
        return cluster.network.start('approved', [process.execPath, '-e', source]);
      });
      for (const child of clients)
        child.stdout!.on('data', (chunk: Buffer) => told.push(...chunk.toString().trim().split('\n')));
      const ticks = (): number => told.filter((line) => line === 'tick').length;
      await until('both transfers run', () => ticks() > 20);
      await cluster.kill('server');
      await cluster.kill('approved');
      const before = ticks();
      await until('they go on', () => ticks() > before + 40);
      const refused = await cluster.node(
        'approved',
        `const s = require('net').connect(8080, '${server.four}'); s.on('connect', () => console.log('through')).on('error', (e) => console.log(e.code)); setTimeout(() => process.exit(), 2000);`,
      );
      t.equal(refused.out, '', 'a new call is dropped');
      cluster.launch('server');
      cluster.launch('approved');
      await cluster.ready('server');
      await cluster.ready('approved');
      const { out } = await cluster.curl('approved', `http://${server.four}:8080/again`);
      t.equal(out, 'server got /again\n', 'after the restart it is served');
      const since = ticks();
      await until('the transfers still go on', () => ticks() > since + 40);
      t.strictSame([...new Set(told)], ['tick']);
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'water'));
      await until(
        'policy cuts both at once',
        () => told.filter((line) => line === 'ECONNRESET').length === 2,
      );
      t.match(await cluster.flow('server', (one) => one.reason === 'policy-changed'), {
        verdict: 'deny',
        source: { pod: 'approved' },
      });
      const end = ticks();
      t.match(await streams('approved', server, 4), { right: 0 });
      t.equal(ticks(), end, 'not a byte came afterwards');
      cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
      await until(
        'it is served again',
        async () => (await cluster.curl('approved', `http://${server.four}:8080/x`)).out !== '',
      );
      for (const child of clients) child.kill('SIGKILL');
    },
  );
});

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
