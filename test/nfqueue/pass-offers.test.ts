/** Hellos that offer several sessions, as calls to a Service do: the addon alone, and who changes one thing about what a pass foresees. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { decodeFrame } from '../../src/handshake/frames.ts';
import { CONTEXT, mac } from '../../src/handshake/key-schedule.ts';
import { bare, type BarePasses, helloIn, NOTHING } from './bare-passes.ts';

const [MAC, OFFER] = [16, 24];

function newSession() {
  return { id: randomBytes(16), clientKey: randomBytes(32), serverKey: randomBytes(32) };
}

/** So many sessions, that of the addon at one place among them. */
function sessionsOf(one: BarePasses, count: number, own: number) {
  return Array.from({ length: count }, (_, index) => (index === own ? one.session : newSession()));
}

/** Places in a Hello that offers so many. */
function placesIn(hello: Uint8Array, count: number) {
  const bindersAt = hello.length - (count + 1) * MAC;
  return { bindersAt, offersAt: bindersAt - count * OFFER, admissionAt: hello.length - MAC };
}

t.test(
  'nfqueue passes attack: of a Hello with several offers every byte counts but counters and binders of others',
  (t) => {
    for (const [count, own] of [
      [2, 0],
      [3, 1],
      [8, 7],
    ] as const) {
      const one = bare(t);
      const sessions = sessionsOf(one, count, own);
      one.passInbound({ offered: sessions.map(({ id }) => id) });
      let counter = 1n;
      const hello = () => one.hello({ offers: sessions.map((session) => ({ session, counter: counter++ })) });
      const goes = (bytes: Uint8Array): boolean => one.decide(one.syn(false, bytes), false) !== undefined;
      const { bindersAt, offersAt, admissionAt } = placesIn(hello(), count);
      const binderAt = bindersAt + own * MAC;
      t.ok(goes(hello()), `number ${own} of ${count}`);
      const counterAt = offersAt + own * OFFER + MAC;
      for (let at = 0; at < admissionAt + MAC; at++) {
        // The own counter is what it is.
        if (at >= counterAt && at < counterAt + 8) continue;
        const turned = hello();
        turned[at]! ^= 1;
        if (goes(turned)) t.fail(`byte ${at}`);
        const sealed = turned.slice();
        if (at < bindersAt)
          sealed.set(mac(one.session.clientKey, CONTEXT.binder, [sealed.subarray(0, bindersAt)]), binderAt);
        const bound = goes(sealed);
        if (bound) t.fail(`byte ${at} under the binder alone`);
        sealed.set(mac(one.admissionKey, CONTEXT.admission, [sealed.subarray(0, admissionAt)]), admissionAt);
        const inCounter = at >= offersAt && at < bindersAt && (at - offersAt) % OFFER >= MAC;
        const ofOther = at >= bindersAt && (at < binderAt || at >= binderAt + MAC);
        const random = at >= 14 && at < 78;
        if (goes(sealed) !== (random || inCounter || ofOther || at >= admissionAt))
          t.fail(`byte ${at} of ${count} offers under both`);
      }
    }
    t.end();
  },
);

t.test('nfqueue passes attack: offers in another order, number or length go by no pass', (t) => {
  const one = bare(t);
  const sessions = sessionsOf(one, 3, 1);
  one.passInbound({ offered: sessions.map(({ id }) => id) });
  const [before, own, behind] = sessions as [typeof one.session, typeof one.session, typeof one.session];
  let counter = 1n;
  const hello = (...some: (typeof own)[]) =>
    one.hello({ offers: some.map((session) => ({ session, counter: counter++ })) });
  const goes = (bytes: Uint8Array): boolean => one.decide(one.syn(false, bytes), false) !== undefined;
  const counted = (count: number): Uint8Array => {
    const bytes = hello(before, own, behind);
    const { offersAt, bindersAt, admissionAt } = placesIn(bytes, 3);
    bytes[offersAt - 1] = count;
    bytes.set(mac(own.clientKey, CONTEXT.binder, [bytes.subarray(0, bindersAt)]), bindersAt + MAC);
    bytes.set(mac(one.admissionKey, CONTEXT.admission, [bytes.subarray(0, admissionAt)]), admissionAt);
    return bytes;
  };
  const rows = {
    'the own one alone': hello(own),
    'the own one first': hello(own, before, behind),
    'the own one last': hello(before, behind, own),
    'one left out before it': hello(own, behind),
    'one left out behind it': hello(before, own),
    'one more behind': hello(before, own, behind, newSession()),
    'one more before': hello(newSession(), before, own, behind),
    'the own one twice': hello(own, own, behind),
    'another before it': hello(newSession(), own, behind),
    'another behind it': hello(before, own, newSession()),
    'none of them': one.hello({ offers: [] }),
    'a count of two': counted(2),
    'a count of four': counted(4),
    'a count of nothing': counted(0),
    'a count of 255': counted(255),
  };
  for (const [what, bytes] of Object.entries(rows)) t.notOk(goes(bytes), what);
  const good = hello(before, own, behind);
  t.ok(goes(good), 'and what is foreseen goes');
  t.notOk(goes(good), 'once');
  t.end();
});

t.test(
  'nfqueue passes: a Hello spends one counter of each session, under the key of each, and who answers is told',
  (t) => {
    const one = bare(t);
    const others = [2, 3, 4].map((number) => ({
      number: 100 + number,
      session: newSession(),
      first: BigInt(number) * 10_000_000_000n,
    }));
    one.passOutbound({ first: 5_000n, count: 4, others });
    const sessions = [one.session, ...others.map(({ session }) => session)];
    const firsts = [5_000n, ...others.map(({ first }) => first)];
    for (let call = 0; call < 4; call++) {
      const decided = one.decide(one.syn(true, NOTHING), true)!;
      const hello = helloIn(one, decided.bytes);
      const frame = decodeFrame(hello);
      if (frame.type !== 'hello') throw new Error('no Hello');
      const { bindersAt } = placesIn(hello, 4);
      t.strictSame(
        frame.offers.map(({ counter }) => counter),
        firsts.map((first) => first + BigInt(call)),
      );
      for (const [index, { id, clientKey }] of sessions.entries()) {
        t.strictSame(Buffer.from(frame.offers[index]!.sessionId), id);
        const binder = mac(clientKey, CONTEXT.binder, [hello.subarray(0, bindersAt)]);
        t.strictSame(Buffer.from(frame.binders[index]!), Buffer.from(binder), `binder ${index}`);
      }
      const admission = mac(one.admissionKey, CONTEXT.admission, [hello.subarray(0, hello.length - MAC)]);
      t.strictSame(Buffer.from(frame.admission), Buffer.from(admission));
      const answer = one.synAck(decided.bytes, one.reply(hello, undefined, sessions[call]!));
      t.ok(one.decide(answer, false)?.marked, `answered by number ${call}`);
      const [record] = one.take();
      t.match(record, { pass: call === 0 ? 1 : others[call - 1]!.number, established: true });
    }
    t.equal(one.decide(one.syn(true, NOTHING), true), undefined, 'no counter is left');
    t.end();
  },
);

t.test(
  'nfqueue passes attack: a Reply of a session that was not offered, or under the key of another, goes by no pass',
  (t) => {
    for (const [what, pick] of [
      ['a session that was not offered', () => newSession()],
      [
        'under the key of the first one',
        (first: Session, other: Session) => ({ ...other, serverKey: first.serverKey }),
      ],
      [
        'under the key of the second one',
        (first: Session, other: Session) => ({ ...first, serverKey: other.serverKey }),
      ],
      ["under the client's key", (_: Session, other: Session) => ({ ...other, serverKey: other.clientKey })],
    ] as const) {
      const one = bare(t);
      const other = newSession();
      one.passOutbound({ others: [{ number: 7, session: other, first: 0n }] });
      const { bytes } = one.decide(one.syn(true, NOTHING), true)!;
      const reply = one.reply(helloIn(one, bytes), undefined, pick(one.session, other));
      t.equal(one.decide(one.synAck(bytes, reply), false), undefined, what);
      t.match(
        one.take(),
        [{ pass: 1, established: false }],
        'and it goes on in TypeScript, as a call of this pass',
      );
      t.equal(one.decide(one.syn(true, NOTHING), true), undefined, 'which is over');
    }
    t.end();
  },
);
type Session = ReturnType<typeof newSession>;

t.test('nfqueue passes: when all are taken back none of several sessions goes by a pass', (t) => {
  const one = bare(t);
  const other = newSession();
  one.passOutbound({ others: [{ number: 7, session: other, first: 0n }] });
  const { bytes } = one.decide(one.syn(true, NOTHING), true)!;
  one.dataPath.resumption.revoke();
  for (const session of [one.session, other]) {
    const reply = one.reply(helloIn(one, bytes), undefined, session);
    t.equal(one.decide(one.synAck(bytes, reply), false), undefined);
  }
  t.end();
});

t.test('nfqueue passes: offers that are no such thing are refused with an error', (t) => {
  const one = bare(t);
  const offer = (changes: object = {}) => ({ number: 7, session: newSession(), first: 0n, ...changes });
  t.throws(() => one.passOutbound({ others: [offer({ number: 0 })] }), TypeError, 'without a number');
  for (const key of ['id', 'clientKey', 'serverKey'])
    t.throws(
      () => one.passOutbound({ others: [offer({ session: { ...newSession(), [key]: randomBytes(31) } })] }),
      TypeError,
      `a short ${key}`,
    );
  t.throws(() => one.passOutbound({ others: Array.from({ length: 8 }, () => offer()) }), 'nine in all');
  const ids = (count: number) => Array.from({ length: count }, () => randomBytes(16));
  for (const [what, offered] of [
    ['none', []],
    ['without the own one', ids(3)],
    ['nine', [one.session.id, ...ids(8)]],
    ['one that is cut', [one.session.id, randomBytes(15)]],
  ] as const)
    t.throws(() => one.passInbound({ offered: [...offered] }), TypeError, what);
  t.equal(one.decide(one.syn(true, NOTHING), true), undefined, 'and none of them is a pass');
  t.end();
});
