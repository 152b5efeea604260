import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { ES256_BYTES, signEs256, verifyEs256 } from '../../src/lib/es256.ts';
import { importPublicJwk } from '../../src/lib/public-key.ts';

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const oracle = {
  sign: (data: Uint8Array) =>
    sign('sha256', data, { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }) as Uint8Array,
  verify: (data: Uint8Array, signature: Uint8Array) =>
    verify('sha256', data, { key: pair.publicKey, dsaEncoding: 'ieee-p1363' }, signature),
};
const ORDER = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
const number = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(64, '0'), 'hex');

t.test(
  'es256: what it signs Node.js verifies in its own r‖s form, and the reverse, whatever r and s begin with',
  (t) => {
    let short = 0;
    let high = 0;
    for (let round = 0; round < 2_000; round++) {
      const data = randomBytes(8);
      const [own, other] = [signEs256(pair.privateKey, data), oracle.sign(data)];
      if (own.length !== ES256_BYTES || !oracle.verify(data, own)) t.fail(Buffer.from(own).toString('hex'));
      if (!verifyEs256(pair.publicKey, data, other)) t.fail(Buffer.from(other).toString('hex'));
      for (const first of [own[0]!, own[32]!, other[0]!, other[32]!]) {
        if (first === 0) short++;
        if (first > 127) high++;
      }
    }
    t.ok(short > 5 && high > 1_000, `${short} short numbers and ${high} with a high bit were among them`);
    t.end();
  },
);

t.test('es256: every change of a signature is judged as Node.js judges it', (t) => {
  const data = randomBytes(32);
  const good = signEs256(pair.privateKey, data);
  fc.assert(
    fc.property(fc.nat(ES256_BYTES - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const changed = good.slice();
      changed[at]! ^= change;
      return !verifyEs256(pair.publicKey, data, changed) && !oracle.verify(data, changed);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => !verifyEs256(pair.publicKey, data, bytes)),
  );
  t.ok(verifyEs256(pair.publicKey, data, good));
  t.end();
});

t.test(
  'es256: numbers out of range are no signature: zero, the order, a multiple more than the number',
  (t) => {
    const data = randomBytes(32);
    const good = Buffer.from(signEs256(pair.privateKey, data));
    const [r, s] = [good.subarray(0, 32), good.subarray(32)];
    const zero = Buffer.alloc(32);
    const cases: [string, Buffer][] = [
      ['zeros', Buffer.alloc(64)],
      ['r is zero', Buffer.concat([zero, s])],
      ['s is zero', Buffer.concat([r, zero])],
      ['r is the order', Buffer.concat([number(ORDER), s])],
      ['s is the order', Buffer.concat([r, number(ORDER)])],
      ['all bits', Buffer.alloc(64, 0xff)],
      ['cut short', good.subarray(0, 63)],
      ['one byte more', Buffer.concat([good, Buffer.of(0)])],
      ['empty', Buffer.alloc(0)],
      ['DER', sign('sha256', data, pair.privateKey)],
    ];
    for (const [what, signature] of cases) t.notOk(verifyEs256(pair.publicKey, data, signature), what);
    // Malleable, as ECDSA is: callers bind what they conclude to the exact bytes.
    const mirrored = Buffer.concat([r, number(ORDER - BigInt(`0x${s.toString('hex')}`))]);
    t.equal(verifyEs256(pair.publicKey, data, mirrored), oracle.verify(data, mirrored));
    t.end();
  },
);

t.test(
  'public key: an import fails as before for what is no key, and leaves the stacks of other errors alone',
  (t) => {
    const { x, y } = pair.publicKey.export({ format: 'jwk' });
    const before = Error.stackTraceLimit;
    t.ok(importPublicJwk({ kty: 'EC', crv: 'P-256', x: x!, y: y! }).equals(pair.publicKey));
    t.equal(Error.stackTraceLimit, before);
    t.throws(() => importPublicJwk({ kty: 'EC', crv: 'P-256', x: x!, y: x! }), 'off the curve');
    t.throws(() => importPublicJwk({ kty: 'OKP', crv: 'X25519', x: 'AA' }), 'too short');
    t.equal(Error.stackTraceLimit, before, 'also after a failure');
    t.match(new Error('here').stack, /es256\.test/);
    t.end();
  },
);
