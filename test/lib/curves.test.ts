import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import type { Curves } from '../../src/lib/curves.ts';
import { nativeCurves } from '../../src/lib/native-curves.ts';
import type { NativeOpenssl } from '../../src/native-openssl.ts';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { loadAddon } from '../../src/native.ts';

const addon = loadAddon();
const found = nativeCurves(addon);
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const N = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
const scalar = (value: bigint): Uint8Array => bytes(value.toString(16).padStart(64, '0'));

t.test('curves: the Node.js that is used here offers its OpenSSL, and the addon takes it', (t) => {
  t.ok(found, 'otherwise all that follows tests one implementation alone');
  t.end();
});

const both: [string, Curves][] = [['node:crypto', NODE_CURVES]];
if (found !== undefined) both.push(['the addon', found]);

function signer() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x, y } = publicKey.export({ format: 'jwk' });
  return {
    x: x!,
    y: y!,
    publicKey,
    privateKey,
    sign: (data: Uint8Array): Uint8Array =>
      new Uint8Array(sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
  };
}

for (const [name, curves] of both) {
  t.test(`curves by ${name}: a signature verifies under its key and data alone`, (t) => {
    const [one, other] = [signer(), signer()];
    for (const length of [0, 1, 55, 56, 63, 64, 65, 600, 5_000]) {
      const data = new Uint8Array(randomBytes(length));
      const signature = one.sign(data);
      for (const key of [curves.verifyingKey(one.x, one.y), curves.verifyingKeyOf(one.publicKey)]) {
        t.ok(key.verify(data, signature), `${length} bytes`);
        t.notOk(key.verify(new Uint8Array([...data, 0]), signature), 'a byte more');
        for (const wrong of [signature.subarray(1), new Uint8Array([...signature, 0]), new Uint8Array(0)]) {
          t.notOk(key.verify(data, wrong), `a signature of ${wrong.length} bytes`);
        }
      }
      t.notOk(curves.verifyingKey(other.x, other.y).verify(data, signature), 'another key');
    }
    t.end();
  });

  t.test(
    `curves by ${name}: what its private key signs is a signature of that data, another one each time`,
    (t) => {
      const one = signer();
      const key = curves.signingKeyOf(one.privateKey);
      const seen = new Set<string>();
      for (let index = 0; index < 300; index++) {
        const data = new Uint8Array(randomBytes(index));
        const signature = key.sign(data);
        t.equal(signature.length, 64);
        for (const [, others] of both) {
          const verifier = others.verifyingKey(one.x, one.y);
          t.ok(verifier.verify(data, signature), `${index} bytes`);
          t.notOk(verifier.verify(new Uint8Array([...data, 0]), signature), 'a byte more');
        }
        seen.add(Buffer.from(key.sign(new Uint8Array(1)).subarray(0, 32)).toString('hex'));
      }
      t.equal(seen.size, 300, 'no r comes twice: two signatures with one would tell the key');
      t.end();
    },
  );

  t.test(`curves by ${name}: a key that is garbage signs no more, and others go on`, (t) => {
    const [one, other] = [signer(), signer()];
    const kept = curves.signingKeyOf(other.privateKey);
    for (let index = 0; index < 500; index++) curves.signingKeyOf(one.privateKey);
    const data = new Uint8Array(50);
    t.ok(curves.verifyingKey(other.x, other.y).verify(data, kept.sign(data)));
    t.end();
  });

  t.test(`curves by ${name}: r and s outside of 1 to n - 1 are no signature`, (t) => {
    const one = signer();
    const data = new Uint8Array(randomBytes(100));
    const key = curves.verifyingKey(one.x, one.y);
    const good = one.sign(data);
    const [r, s] = [good.subarray(0, 32), good.subarray(32)];
    const number = (half: Uint8Array): bigint => BigInt(`0x${Buffer.from(half).toString('hex')}`);
    const edges = [0n, 1n, N - 1n, N, N + 1n, (1n << 256n) - 1n];
    for (const edge of edges) {
      t.notOk(key.verify(data, new Uint8Array([...scalar(edge), ...s])), `r = ${edge}`);
      t.notOk(key.verify(data, new Uint8Array([...r, ...scalar(edge)])), `s = ${edge}`);
      for (const more of edges) {
        t.notOk(key.verify(data, new Uint8Array([...scalar(edge), ...scalar(more)])), `${edge}, ${more}`);
      }
    }
    t.ok(
      key.verify(data, new Uint8Array([...r, ...scalar(N - number(s))])),
      "ECDSA's other signature is one",
    );
    t.end();
  });

  t.test(`curves by ${name}: what is no point of P-256 is no key`, (t) => {
    const { x, y } = signer();
    const off = Buffer.from(y, 'base64url');
    off[31]! ^= 1;
    const zero = Buffer.alloc(32).toString('base64url');
    const field = Buffer.from('ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 'hex');
    const broken: readonly (readonly [string, string])[] = [
      [x, off.toString('base64url')],
      [y, x],
      [zero, zero],
      [field.toString('base64url'), y],
      [x.slice(0, 40), y],
      [`${x}AAAA`, y],
      ['', ''],
    ];
    for (const [one, two] of broken) t.throws(() => curves.verifyingKey(one, two), `${one} ${two}`);
    t.doesNotThrow(() => curves.verifyingKey(x, y), 'and the next one is not the worse for it');
    t.end();
  });

  t.test(`curves by ${name}: both sides derive the same, and others something else`, (t) => {
    const [a, b, c] = [curves.generateEphemeral(), curves.generateEphemeral(), curves.generateEphemeral()];
    const [salt, info] = [new Uint8Array(randomBytes(14)), new Uint8Array(randomBytes(50))];
    const hex = (found: Uint8Array | undefined): string => Buffer.from(found!).toString('hex');
    const derived = hex(a.privateKey.derive(b.publicKey, salt, info, 144));
    t.equal(derived.length, 288);
    t.equal(hex(b.privateKey.derive(a.publicKey, salt, info, 144)), derived);
    t.equal(hex(a.privateKey.derive(b.publicKey, salt, info, 144)), derived, 'also when asked again');
    t.not(hex(c.privateKey.derive(b.publicKey, salt, info, 144)), derived);
    t.not(hex(a.privateKey.derive(b.publicKey, salt, new Uint8Array(50), 144)), derived);
    t.not(hex(a.privateKey.derive(b.publicKey, new Uint8Array(14), info, 144)), derived);
    t.not(hex(a.publicKey), hex(b.publicKey), 'no key is made twice');
    t.end();
  });

  t.test(`curves by ${name}: a public key of small order agrees on nothing`, (t) => {
    // The points of order 1, 2, 4 and 8 of curve and twist, as RFC 7748 section 6.1 has them refused.
    const small = [
      '00'.repeat(32),
      `01${'00'.repeat(31)}`,
      'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
      '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
      `ec${'ff'.repeat(30)}7f`,
      `ed${'ff'.repeat(30)}7f`,
      `ee${'ff'.repeat(30)}7f`,
    ];
    const own = curves.generateEphemeral();
    const nothing = new Uint8Array(0);
    for (const point of small)
      t.equal(own.privateKey.derive(bytes(point), nothing, nothing, 144), undefined, point);
    t.ok(own.privateKey.derive(curves.generateEphemeral().publicKey, nothing, nothing, 144));
    t.end();
  });
}

t.test(
  'curves: the two implementations agree with each other on keys, for any salt, info and length',
  (t) => {
    const array = (maxLength: number) => fc.uint8Array({ maxLength });
    fc.assert(
      fc.property(array(64), array(300), fc.integer({ min: 1, max: 8_160 }), (salt, info, length) => {
        const [node, native] = [NODE_CURVES.generateEphemeral(), (found ?? NODE_CURVES).generateEphemeral()];
        const one = node.privateKey.derive(native.publicKey, salt, info, length);
        const two = native.privateKey.derive(node.publicKey, salt, info, length);
        return one !== undefined && two !== undefined && Buffer.compare(one, two) === 0;
      }),
      { numRuns: 60 },
    );
    t.end();
  },
);

t.test('curves: the two implementations give the same answer to any signature', (t) => {
  const one = signer();
  const data = new Uint8Array(randomBytes(64));
  const good = one.sign(data);
  const keys = both.map(([, curves]) => curves.verifyingKey(one.x, one.y));
  const changed = fc
    .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 0, max: 255 }))
    .map(([at, value]) => good.with(at, value));
  fc.assert(
    fc.property(fc.oneof(changed, fc.uint8Array({ minLength: 60, maxLength: 66 })), (signature) => {
      const right = Buffer.compare(signature, good) === 0;
      return keys.every((key) => key.verify(data, signature) === right);
    }),
    { numRuns: 300 },
  );
  t.end();
});

t.test('curves: the addon is not taken where its OpenSSL is missing or not what it should be', (t) => {
  const real: NativeOpenssl = { ...addon };
  t.ok(nativeCurves(real));
  t.equal(nativeCurves({ ...real, hasCurves: () => false }), undefined);
  t.equal(nativeCurves({ ...real, es256Verify: () => true }), undefined, 'one that believes anything');
  t.equal(nativeCurves({ ...real, es256Verify: () => false }), undefined, 'one that believes nothing');
  t.equal(nativeCurves({ ...real, es256Sign: () => false }), undefined, 'one that signs nothing');
  t.equal(
    nativeCurves({ ...real, es256Sign: () => true }),
    undefined,
    'one that only says that it has signed',
  );
  let made: Uint8Array | undefined;
  const same: NativeOpenssl['es256Sign'] = (own, data, out) => {
    if (made !== undefined) out.set(made);
    else if (real.es256Sign(own, data, out)) made = out.slice();
    return true;
  };
  t.equal(nativeCurves({ ...real, es256Sign: same }), undefined, 'one whose random number is no such thing');
  t.equal(nativeCurves({ ...real, x25519Derive: () => false }), undefined);
  const random: NativeOpenssl['x25519Derive'] = (_own, _peer, _salt, _info, out) =>
    out.set(randomBytes(out.length)) === undefined;
  t.equal(nativeCurves({ ...real, x25519Derive: random }), undefined);
  const constant: NativeOpenssl['x25519Derive'] = (_own, _peer, _salt, _info, out) => out.fill(7) === out;
  t.equal(nativeCurves({ ...real, x25519Derive: constant }), undefined, 'one that agrees with everybody');
  const forbidden = (): never => {
    throw new Error('ENOMEM');
  };
  t.equal(nativeCurves({ ...real, x25519Generate: forbidden }), undefined, 'one that makes no keys');
  t.end();
});

t.test('curves: the addon throws for what has another kind or length, and reads nothing of it', (t) => {
  const [point, out, short] = [new Uint8Array(64), new Uint8Array(32), new Uint8Array(31)];
  const own = addon.x25519Generate(new Uint8Array(32));
  const signing = addon.es256Key(new Uint8Array(32).fill(1));
  const any = addon as unknown as Record<string, (...given: unknown[]) => unknown>;
  const calls: readonly (readonly [string, ...unknown[]])[] = [
    ['p256IsPoint'],
    ['p256IsPoint', short],
    ['p256IsPoint', 'a text'],
    ['p256IsPoint', new Uint16Array(64)],
    ['es256Verify', point, out],
    ['es256Verify', short, out, point],
    ['es256Verify', point, out, short],
    ['es256Verify', point, 'a text', point],
    ['es256Key', short],
    ['es256Key', undefined],
    ['es256Sign', signing, out],
    ['es256Sign', signing, out, out],
    ['es256Sign', signing, 'a text', point],
    ['es256Sign', own, out, point],
    ['es256Sign', {}, out, point],
    ['x25519Derive', signing, out, out, out, out],
    ['x25519Generate', short],
    ['x25519Generate', undefined],
    ['x25519Derive', own, short, out, out, out],
    ['x25519Derive', {}, out, out, out, out],
    ['x25519Derive', undefined, out, out, out, out],
    ['x25519Derive', own, out, new Uint8Array(65), out, out],
    ['x25519Derive', own, out, 'salt', out, out],
    ['x25519Derive', own, out, out, 'info', out],
    ['x25519Derive', own, out, out, out, 'room'],
    ['x25519Derive', own, out, out, out, new Uint8Array(8_161)],
  ];
  for (const [name, ...given] of calls)
    t.throws(() => any[name]!(...given), TypeError, `${name} ${given.length}`);
  t.end();
});
