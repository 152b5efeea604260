import t, { type Test } from 'tap';
import { type Impairment, ImpairedLink } from './impaired-link.ts';
import { cannotNetns, TestNetwork } from './netns.ts';

const skip = cannotNetns();
const PACKETS = 400;

/** Sends numbered datagrams and prints the numbers that arrive, with the time that each took; both hosts share a clock. */
const RECEIVE = (family: 'udp4' | 'udp6'): string => `
const socket = require('dgram').createSocket('${family}');
socket.on('message', (m) => { if (m.length === 1) { console.log(JSON.stringify(got)); process.exit(); }
  got.push([m.readUInt32BE(), Number(process.hrtime.bigint() - m.readBigInt64BE(4)) / 1e6]); });
const got = [];
socket.bind(7000, () => console.log('up'));`;
const SEND = (family: 'udp4' | 'udp6', address: string): string => `
const socket = require('dgram').createSocket('${family}');
let n = 0;
const next = () => {
  const packet = Buffer.alloc(12);
  packet.writeUInt32BE(n); packet.writeBigInt64BE(process.hrtime.bigint(), 4);
  socket.send(packet, 7000, '${address}');
  if (++n < ${PACKETS}) setTimeout(next, 1);
  else setInterval(() => socket.send(Buffer.alloc(1), 7000, '${address}'), 500); // one may be lost
};
next();`;

/** What arrives over such a link, in order, and what the link says of it. */
async function datagrams(t: Test, how: Impairment, family: 'four' | 'six' = 'four') {
  const network = new TestNetwork(t);
  const [here, there] = ['here', 'there'].map((host) => ({ host, ...network.host(host) }));
  const link = await ImpairedLink.between(network, here!, there!, how);
  const kind = family === 'four' ? 'udp4' : 'udp6';
  const receiver = network.start('there', [process.execPath, '-e', RECEIVE(kind)]);
  let out = '';
  const ended = new Promise((resolve) => receiver.stdout!.once('close', resolve));
  await new Promise<void>((resolve) => {
    receiver.stdout!.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      resolve();
    });
  });
  const sender = network.start('here', [process.execPath, '-e', SEND(kind, there![family])]);
  await ended;
  sender.kill('SIGKILL');
  const got = JSON.parse(out.split('\n')[1]!) as [number, number][];
  return {
    numbers: got.map(([number]) => number),
    times: got.map(([, ms]) => ms),
    counts: await link.remove(),
  };
}

for (const family of ['four', 'six'] as const) {
  t.test(`impaired link: no packet arrives before its delay, IPv${family}`, { skip }, async (t) => {
    const { numbers, times, counts } = await datagrams(t, { delayMs: 20, jitterMs: 5 }, family);
    t.strictSame(
      numbers,
      Array.from({ length: PACKETS }, (_, at) => at),
      'all arrive, in order',
    );
    t.ok(Math.min(...times) >= 20, `the earliest took ${Math.min(...times)} ms`);
    t.match(counts.there, { lost: 0, duplicated: 0, reordered: 0, eaten: 0 });
  });
}

t.test(
  'impaired link: packets are lost, doubled and put out of order as often as asked',
  { skip },
  async (t) => {
    const { numbers, counts } = await datagrams(t, {
      loss: 0.1,
      duplicate: 0.1,
      reorder: 0.2,
      reorderMs: 100,
      seed: 7,
    });
    const different = new Set(numbers);
    const lost = PACKETS - different.size;
    const doubled = numbers.length - different.size;
    const overtaken = numbers.filter((number, at) => at > 0 && number < numbers[at - 1]!).length;
    t.ok(lost > PACKETS * 0.05 && lost < PACKETS * 0.15, `${lost} lost`);
    t.ok(doubled > PACKETS * 0.04 && doubled < PACKETS * 0.15, `${doubled} doubled`);
    t.ok(overtaken > 10, `${overtaken} overtaken`);
    t.ok(counts.there.lost >= lost && counts.there.duplicated >= doubled && counts.there.reordered > 40);
  },
);

t.test('impaired link: what is beyond the queue is lost', { skip }, async (t) => {
  const { numbers, counts } = await datagrams(t, { delayMs: 1_000, queue: 5 });
  t.ok(numbers.length < PACKETS, `${numbers.length} arrive`);
  t.ok(counts.there.overflowed >= PACKETS - numbers.length);
});
