/** What a Hello in a SYN may cost, and who is heard while many come. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { buildHello } from '../../src/handshake/hello.ts';
import { Strangers } from '../../src/nfqueue/strangers.ts';
import { webAndDb } from './web-and-db.ts';

const KEY = randomBytes(32);
const SESSION = randomBytes(16);

function hello(key: Uint8Array, sessionId?: Uint8Array): Uint8Array {
  return buildHello({
    wishes: { encryption: 'none' },
    carrier: 'syn',
    nonce: randomBytes(32),
    ephemeral: randomBytes(32),
    destination: { address: '10.0.0.1', port: 80 },
    cookie: new Uint8Array(0),
    token: randomBytes(300),
    offers:
      sessionId === undefined
        ? []
        : [{ session: { id: sessionId, clientKey: randomBytes(32) }, counter: 1n }],
    admissionKey: key,
  });
}

const question = (of: Uint8Array, source = '10.0.0.9') => ({
  hello: of,
  source,
  admissionKeys: [KEY],
  knowsSession: (id: Uint8Array) => Buffer.from(SESSION).equals(id),
  hasPlace: () => true,
});

t.test(
  'strangers: full handshakes take their share of the time and no more; known sessions share it with nobody',
  (t) => {
    const strangers = new Strangers();
    let now = 1_000_000;
    const heard = (milliseconds: number): number => {
      let count = 0;
      for (const end = now + milliseconds; now < end; now++) {
        // One comes each millisecond, from an address of its own, and each takes ten.
        if (strangers.admit(question(hello(KEY), `10.1.${now >> 8}.${now & 255}`), now) === 'drop') continue;
        strangers.spent(10);
        count++;
      }
      return count;
    };
    t.ok(heard(1_000) >= 200, 'a crowd is heard, two seconds of it');
    heard(2_000);
    const [dropped, share] = [strangers.dropped, heard(10_000)];
    t.ok(share > 500 && share <= 601, `of a flood ${share} in ten seconds, each of ten milliseconds`);
    t.ok(strangers.dropped - dropped > 9_000);
    t.equal(strangers.admit(question(hello(KEY)), now), 'drop');
    t.equal(
      strangers.admit(question(hello(randomBytes(32))), now),
      'drop',
      'rubbish is not looked at either',
    );
    t.equal(strangers.admit(question(hello(KEY, SESSION)), now), 'hear-known');
    t.equal(
      strangers.admit(question(hello(randomBytes(32), SESSION)), now),
      'hear',
      'which its MAC has to bear out',
    );
    now += 5_000;
    t.equal(
      strangers.admit(question(hello(KEY)), now),
      'hear-admitted',
      'afterwards strangers are heard again',
    );
    t.end();
  },
);

t.test('strangers: who finds no place costs none of what its address may have', (t) => {
  const strangers = new Strangers();
  let dropped = 0;
  for (let count = 0; count < 5_000; count++) {
    if (strangers.admit({ ...question(hello(KEY)), hasPlace: () => false }, 1_000) === 'drop') dropped++;
  }
  t.equal(dropped, 5_000);
  t.equal(strangers.admit(question(hello(KEY)), 1_000), 'hear-admitted');
  t.end();
});

t.test(
  'half open: a crowd behind one address is served one after the other, and none is turned out by the next',
  (t) => {
    const { network, client, server } = webAndDb(t);
    const { halfOpen } = server.pod.proxy!.surroundings;
    const [now, gone, leave] = [performance.now(), [] as number[], [] as (() => void)[]];
    for (let number = 0; number < 256; number++) {
      leave.push(halfOpen.enter(client.pod.address, () => gone.push(number), now + 3_600_000));
    }
    network.connect();
    client.tcp.connect();
    network.run();
    t.equal(server.tcp.state, 'listen', 'the 257th has to wait');
    t.strictSame(gone, [], 'and nobody had to go');
    t.equal(client.tcp.state, 'syn-sent', 'nor was it refused');
    leave[100]!();
    network.retransmit();
    t.equal(server.tcp.state, 'established', 'its repetition is heard when one has left');
    t.equal(server.pod.counts.at(-1), 'inbound allow policy-allowed proven full');

    leave.push(halfOpen.enter(client.pod.address, () => gone.push(256), now + 3_600_000));
    t.notOk(halfOpen.admits(client.pod.address, now + 3_600_999), 'a second is for all');
    t.ok(halfOpen.admits(client.pod.address, now + 3_601_000), 'who takes longer gives way');
    t.ok(halfOpen.admits('10.9.9.9', now), 'other addresses are not concerned');
    t.strictSame(gone, []);
    t.end();
  },
);

t.test('strangers: a session speaks for no address from which too many full handshakes came by it', (t) => {
  const strangers = new Strangers();
  let now = 1_000_000;
  const known = (source?: string) => question(hello(KEY, SESSION), source);
  const heard = Array.from({ length: 1_300 }, () => {
    const admission = strangers.admit(known(), now);
    if (admission === 'hear-known') strangers.fellThrough('10.0.0.9', now);
    return admission;
  });
  t.strictSame(
    ['hear-known', 'hear-admitted', 'drop'].map((one) => [
      heard.indexOf(one as 'drop'),
      heard.lastIndexOf(one as 'drop'),
    ]),
    [
      [0, 599],
      [600, 1_199],
      [1_200, 1_299],
    ],
    'then it has had what a stranger may have',
  );
  t.equal(strangers.admit({ ...known(), hasPlace: () => false }, now), 'drop');
  t.equal(strangers.admit(known('10.0.0.10'), now), 'hear-known', 'another address is not concerned');
  now += 10;
  t.equal(strangers.admit(known(), now), 'hear-known', 'and three come again in ten milliseconds');
  t.end();
});
