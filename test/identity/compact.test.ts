import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { fromCompact, MAX_WIRE_BYTES, toCompact } from '../../src/identity/compact.ts';
import { generateOwnKey } from '../../src/identity/keys.ts';
import { issueToken } from '../../src/identity/issue.ts';
import { TokenVerifier } from '../../src/identity/verify.ts';
import { NOW, sampleDomain, samplePod, sampleToken } from './samples.ts';

const domain = sampleDomain();
const base64url = (value: string | Uint8Array): string => Buffer.from(value).toString('base64url');

function textOf(wire: Uint8Array): string | undefined {
  const parts = fromCompact(wire);
  return parts && `${Buffer.from(parts.signed).toString()}.${base64url(parts.signature)}`;
}

t.test('compact form: gives back exactly the JWT that went in, whatever it says', (t) => {
  const arbitrary = fc.tuple(
    fc.json({ maxDepth: 2 }).filter((text) => !text.includes('\n')),
    fc.string({ unit: 'binary', maxLength: 400 }).filter((text) => text.isWellFormed()),
    fc.uint8Array({ maxLength: 100 }),
  );
  let tried = 0;
  fc.assert(
    fc.property(arbitrary, ([header, payload, signature]) => {
      const jwt = `${base64url(header)}.${base64url(payload)}.${base64url(signature)}`;
      tried++;
      return textOf(toCompact(jwt)) === jwt;
    }),
    { numRuns: 500 },
  );
  t.ok(tried >= 500);
  t.end();
});

t.test('compact form: gives back every issued token, whatever the labels', async (t) => {
  const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/);
  const value = fc.stringMatching(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,40}[A-Za-z0-9])?)?$/);
  const verifier = new TokenVerifier(domain.trust);
  await fc.assert(
    fc.asyncProperty(fc.dictionary(name, value, { maxKeys: 12 }), name, async (labels, podName) => {
      const pod = samplePod({ labels, name: podName });
      const key = generateOwnKey().publicKey;
      const jwt = await issueToken(domain.signer, pod, labels, key, NOW, 3600);
      const wire = toCompact(jwt);
      t.equal(textOf(wire), jwt);
      t.match(verifier.verify(wire, NOW), { identity: { labels, namespaceLabels: labels, podName, key } });
    }),
    { numRuns: 100 },
  );
});

t.test('compact form: no single bit of a token can be changed', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  // Every bit of the first token; of the others the end, where the stream leaves some bits of the last byte over.
  for (let round = 0; round < 40; round++) {
    const wire = toCompact(await sampleToken(domain.signer, samplePod({ name: `web-${round}` })));
    t.match(verifier.verify(wire, NOW), { identity: { podName: `web-${round}` } });
    const accepted: number[] = [];
    for (let bit = round === 0 ? 0 : wire.length * 8 - 24; bit < wire.length * 8; bit++) {
      const changed = wire.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      if (!('refusal' in verifier.verify(changed, NOW))) accepted.push(bit);
    }
    t.strictSame(accepted, [], `of ${wire.length * 8} bits`);
  }
});

t.test('compact form: bytes behind its end, and a second stream there, are refused', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  const wire = toCompact(await sampleToken(domain.signer));
  for (const more of [Buffer.of(0), Buffer.from('more'), deflateRawSync('more')]) {
    t.match(verifier.verify(Buffer.concat([wire, more]), NOW), { refusal: { reason: 'token-malformed' } });
  }
});

t.test('compact form: what is longer than the wire allows is neither made nor read', (t) => {
  t.throws(() => toCompact(`${base64url('{}')}.${base64url('a'.repeat(8_192))}.`), { message: /8192 bytes/ });
  const random = base64url(
    Buffer.from(Array.from({ length: 6_000 }, () => 33 + Math.floor(Math.random() * 94))),
  );
  t.throws(() => toCompact(`${base64url('{}')}.${random}.`), { message: /on the wire; 4096 is the most/ });
  const wire = (text: string): Buffer => Buffer.concat([Buffer.of(1, 0), deflateRawSync(`{}\n${text}`)]);
  const text = Buffer.from(random, 'base64url').toString();
  t.ok(wire(text).length > MAX_WIRE_BYTES);
  t.equal(fromCompact(wire(text)), undefined);
  t.match(fromCompact(wire(text.slice(0, 4_000))), { payload: text.slice(0, 4_000) });
  t.end();
});

t.test('compact form: a JWT that can be written in two ways is refused', async (t) => {
  const jwt = await sampleToken(domain.signer);
  const [header, payload, signature] = jwt.split('.') as [string, string, string];
  const last = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.indexOf(signature.at(-1)!);
  const stray = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'[last + 1]!;
  const cases: [string, string][] = [
    ['stray bits in the last character', `${header}.${payload}.${signature.slice(0, -1)}${stray}`],
    ['padding', `${header}.${payload}.${signature}==`],
    ['a blank', `${header}.${payload}.${signature.slice(0, 10)} ${signature.slice(10)}`],
    ['the alphabet of ordinary base64', `${header}.${payload}.${Buffer.alloc(64, 255).toString('base64')}`],
    ['two parts', `${header}.${payload}`],
    ['four parts', `${jwt}.x`],
    ['nothing', ''],
    ['a line feed in the header', `${base64url('{\n}')}.${payload}.${signature}`],
    ['a signature of 256 bytes', `${header}.${payload}.${base64url(Buffer.alloc(256))}`],
    ['a payload that is no UTF-8', `${header}.${base64url(Buffer.of(0x7b, 0xff, 0x7d))}.${signature}`],
  ];
  for (const [what, text] of cases) t.throws(() => toCompact(text), TypeError, what);
});
