import { createHash, createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { hmacSha256, sha256 } from '../../src/handshake/digest.ts';
import { runs } from '../support/effort.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const parts = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 5 });

t.test('digest: hash and MAC are those of Node.js, for any key, context and parts', (t) => {
  const context = fc.stringMatching(/^[ -~]{0,60}$/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), context, parts, (key, context, parts) => {
      const mac = createHmac('sha256', key).update(`${context}\0`).update(Buffer.concat(parts)).digest('hex');
      const hash = createHash('sha256').update(Buffer.concat(parts)).digest('hex');
      return hex(hmacSha256(key, context, parts)) === mac && hex(sha256(parts)) === hash;
    }),
    { numRuns: runs(500) },
  );
  t.end();
});

t.test('digest: more than any handshake has, and a short one after it', (t) => {
  const key = randomBytes(32);
  for (const length of [24_575, 24_576, 100_000, 3]) {
    const data = randomBytes(length);
    t.equal(hex(sha256([data])), createHash('sha256').update(data).digest('hex'));
    t.equal(
      hex(hmacSha256(key, 'c', [data])),
      createHmac('sha256', key).update('c\0').update(data).digest('hex'),
    );
  }
  t.throws(() => hmacSha256(randomBytes(65), 'c', []), RangeError);
  t.end();
});

t.test('digest: a result is its own, and outlives the next', (t) => {
  const key = randomBytes(32);
  const first = hmacSha256(key, 'c', [Buffer.from('one')]);
  const before = hex(first);
  hmacSha256(key, 'c', [Buffer.from('two')]);
  sha256([Buffer.from('three')]);
  t.equal(hex(first), before);
  // The zero byte parts context and data.
  t.not(hex(hmacSha256(key, 'ab', [Buffer.from('c')])), hex(hmacSha256(key, 'a', [Buffer.from('bc')])));
  t.end();
});
