/** Who changes one thing about the frame that a pass would let through, with the right MACs or without: the addon alone. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { CONTEXT, mac } from '../../src/handshake/key-schedule.ts';
import { bare, type BarePasses, begun, helloIn, NOTHING } from './bare-passes.ts';

t.test('nfqueue passes attack: every byte of a Hello is under both MACs, and counts beside them', (t) => {
  const one = bare(t);
  one.passInbound();
  const { length } = one.hello();
  const [macsAt, counterAt] = [length - 32, length - 40];
  const turned = (at: number): Uint8Array => {
    const hello = one.hello();
    hello[at]! ^= 1;
    return hello;
  };
  const goes = (hello: Uint8Array): boolean => one.decide(one.syn(false, hello), false) !== undefined;
  for (let at = 0; at < length; at++) if (goes(turned(at))) t.fail(`byte ${at}`);
  for (let at = 0; at < macsAt; at++) {
    if (goes(one.sealed(turned(at), { binder: true, admission: false })))
      t.fail(`byte ${at} under the binder`);
    if (goes(one.sealed(turned(at), { binder: false, admission: true })))
      t.fail(`byte ${at} under the admission MAC`);
    // Nonce and ephemeral key are free, and a counter is what it is; the rest has to be so.
    const free = at >= 14 && at < 78;
    if (at < counterAt && goes(one.sealed(turned(at), { binder: true, admission: true })) !== free)
      t.fail(`byte ${at} under both`);
  }
  t.end();
});

t.test('nfqueue passes attack: a Hello of another shape goes by no pass, whatever MACs it has', (t) => {
  const one = bare(t);
  one.passInbound();
  const { session, own } = one;
  const other = { id: randomBytes(16), clientKey: randomBytes(32) };
  const offer = (counter: bigint) => ({ session, counter });
  const good = one.hello();
  const rows = {
    'two offers': one.hello({ offers: [offer(500n), { session: other, counter: 1n }] }),
    'two offers, the known one behind': one.hello({ offers: [{ session: other, counter: 1n }, offer(501n)] }),
    'no offer': one.hello({ offers: [] }),
    'another session': one.hello({ offers: [{ session: { ...session, id: other.id }, counter: 502n }] }),
    "another one's key": one.hello({
      offers: [{ session: { ...session, ...other, id: session.id }, counter: 503n }],
    }),
    "the server's key": one.hello({
      offers: [{ session: { ...session, clientKey: session.serverKey }, counter: 504n }],
    }),
    'another admission key': one.hello({ admissionKey: randomBytes(32) }),
    'another token': one.hello({ token: randomBytes(one.token.length) }),
    'a longer token': one.hello({ token: new Uint8Array([...one.token, 0]) }),
    'for another port': one.hello({ destination: { ...own, port: 81 } }),
    'for another address': one.hello({ destination: { ...own, address: '10.0.0.3' } }),
    'for an address of the other family': one.hello({ destination: { ...own, address: 'fd00::2' } }),
    'with a wish': one.hello({ wishes: { encryption: 'wanted' } }),
    'of the other carrier': one.hello({ carrier: 'stream' }),
    'with a cookie': one.hello({ cookie: randomBytes(16) }),
    'with a byte before its binder': one.stretched(1),
    'without the last byte of its counter': one.stretched(-1),
    'a counter beyond what JavaScript counts': one.hello({ offers: [offer(2n ** 53n)] }),
  };
  for (const [what, hello] of Object.entries(rows)) t.notOk(one.decide(one.syn(false, hello), false), what);
  t.ok(one.decide(one.syn(false, good), false), 'and none of them has hurt the pass');
  t.notOk(one.decide(one.syn(false, good), false), 'the same once more, from another port');
  t.equal(one.window.use(501n), 'fresh', 'no counter was spent for them');
  t.ok(one.decide(one.syn(false, one.hello({ offers: [offer(200_000n)] })), false), 'far ahead');
  t.notOk(one.decide(one.syn(false, one.hello({ offers: [offer(134_464n)] })), false), 'behind the window');
  t.equal(one.window.use(200_000n), 'seen', 'TypeScript knows what passes have spent');
  t.equal(one.window.use(200_001n), 'fresh');
  t.notOk(
    one.decide(one.syn(false, one.hello({ offers: [offer(200_001n)] })), false),
    'and a pass what TypeScript has',
  );
  t.end();
});

t.test('nfqueue passes attack: every byte of a Reply is under its MAC, and counts beside it', (t) => {
  const one = bare(t);
  const length = 78;
  const answer = (edit: (reply: Uint8Array) => void, sealed: boolean): boolean => {
    one.passOutbound();
    const syn = one.decide(one.syn(true, NOTHING), true)!.bytes;
    const hello = helloIn(one, syn);
    let reply = one.reply(hello, sealed ? edit : undefined);
    if (!sealed) {
      reply = reply.slice();
      edit(reply);
    }
    const decided = one.decide(one.synAck(syn, reply), false);
    one.take();
    return decided !== undefined;
  };
  t.ok(answer(() => {}, true));
  for (let at = 0; at < length; at++) {
    const turn = (reply: Uint8Array): void => void (reply[at]! ^= 1);
    if (answer(turn, false)) t.fail(`byte ${at}`);
    // Under the MAC there are a nonce, which is free, and what has to be so.
    if (at < length - 16 && answer(turn, true) !== (at >= 14 && at < 46)) t.fail(`byte ${at} under the MAC`);
  }
  t.end();
});

t.test(
  'nfqueue passes attack: a Reply for another call, under another key or of another length opens nothing',
  (t) => {
    const rows: Record<string, (one: BarePasses, hello: Uint8Array) => Uint8Array> = {
      'for another Hello': (one) => one.reply(one.hello()),
      "under the client's key": (one, hello) => {
        const reply = one.reply(hello).subarray(0, 62);
        return new Uint8Array([...reply, ...mac(one.session.clientKey, CONTEXT.resumed, [hello, reply])]);
      },
      'in the name of something else': (one, hello) => {
        const reply = one.reply(hello).subarray(0, 62);
        return new Uint8Array([
          ...reply,
          ...mac(one.session.serverKey, CONTEXT.serverRefusal, [hello, reply]),
        ]);
      },
      'with a byte behind it': (one, hello) => new Uint8Array([...one.reply(hello), 0]),
      cut: (one, hello) => one.reply(hello).slice(0, -1),
      'none at all': () => NOTHING,
      'the own Hello': (_one, hello) => hello,
    };
    for (const [what, make] of Object.entries(rows)) {
      const one = bare(t);
      const syn = begun(one, true);
      t.notOk(one.decide(one.synAck(syn, make(one, helloIn(one, syn))), false), what);
      const [told] = one.take();
      t.match(told, { outgoing: true, established: false }, 'TypeScript has it');
      t.strictSame(Buffer.from(told!.hello), Buffer.from(helloIn(one, syn)));
      t.notOk(one.decide(one.synAck(syn, one.reply(helloIn(one, syn))), false), 'and keeps it');
      t.notOk(one.decide(one.syn(true, NOTHING), true), 'and makes the next call');
    }
    t.end();
  },
);

t.test('nfqueue passes: no counter is offered twice, and none that was not set aside', (t) => {
  const one = bare(t);
  one.passOutbound({ first: 7_000n, count: 64 });
  const offered: bigint[] = [];
  let left = 0;
  for (let call = 0; call < 200; call++) {
    const decided = one.decide(one.syn(true, NOTHING), true);
    if (decided === undefined) {
      if (offered.length < 64) left++;
      continue;
    }
    offered.push(new DataView(Uint8Array.from(decided.bytes).buffer).getBigUint64(decided.bytes.length - 40));
  }
  t.strictSame(
    offered,
    Array.from({ length: 64 }, (_, index) => 7_000n + BigInt(index)),
  );
  t.ok(left > 0, 'some calls were left to TypeScript, so that it could give another pass in time');
  t.end();
});
