import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { Inflater } from '../../src/identity/inflate.ts';
import { runs } from '../support/effort.ts';

const dictionary = Buffer.from('{"alg":"ES256","typ":"countersign+jwt","kid":"app.kubernetes.io/name');
const MAX = 8_192;
const inflater = new Inflater(dictionary, MAX);

/**
 * What zlib says, asked strictly: the whole input is one stream. The highest bit that is set in its last byte means something if zlib says
 * something else without it; if it does not, the bit may still choose between two copies of the same bytes, which zlib cannot tell.
 */
function oracle(deflated: Uint8Array): { accepted: Buffer | undefined; mayRefuse: boolean } {
  const accepted = byZlib(deflated);
  const last = deflated.at(-1) ?? 0;
  const without = Uint8Array.from(deflated);
  without[without.length - 1] = last & ~(1 << (31 - Math.clz32(last)));
  return { accepted, mayRefuse: last !== 0 && hex(byZlib(without)) === hex(accepted) };
}

function byZlib(deflated: Uint8Array): Buffer | undefined {
  try {
    const result: unknown = inflateRawSync(deflated, { info: true, dictionary, maxOutputLength: MAX });
    const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } };
    return engine.bytesWritten === deflated.length ? buffer : undefined;
  } catch {
    return undefined;
  }
}

const { Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE, Z_FILTERED, Z_DEFAULT_STRATEGY } = constants;
const text = fc.oneof(
  fc.uint8Array({ maxLength: 600 }),
  fc.json().map((json) => Buffer.from(`${dictionary.toString()}${json}`)),
  fc
    .array(fc.constantFrom('app', 'kubernetes.io/', '"team":', 'a', '\n'), { maxLength: 300 })
    .map((parts) => Buffer.from(parts.join(''))),
);
const stream = fc
  .record({
    text,
    level: fc.integer({ min: 0, max: 9 }),
    strategy: fc.constantFrom(Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE, Z_FILTERED, Z_DEFAULT_STRATEGY),
    windowBits: fc.integer({ min: 9, max: 15 }),
  })
  .map(({ text, ...options }) => ({ text, deflated: deflateRawSync(text, { ...options, dictionary }) }));

const hex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Buffer.from(bytes).toString('hex');

t.test('inflate: gives back whatever zlib deflates, at every level and strategy', (t) => {
  const kinds = new Set<number>();
  fc.assert(
    fc.property(stream, ({ text, deflated }) => {
      kinds.add((deflated[0]! >> 1) & 3);
      return hex(inflater.inflate(deflated)) === hex(text);
    }),
    { numRuns: runs(1_000) },
  );
  t.strictSame(
    [...kinds].toSorted((a, b) => a - b),
    [0, 1, 2],
    'stored, fixed and dynamic blocks were among them',
  );
  t.end();
});

t.test('inflate: of changed and of random bytes it accepts what zlib accepts, with the same result', (t) => {
  let accepted = 0;
  const change = fc.tuple(
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    fc.integer({ min: 1, max: 255 }),
  );
  const agree = (bytes: Uint8Array): boolean => {
    const expected = oracle(bytes);
    const inflated = hex(inflater.inflate(bytes));
    if (inflated !== undefined) accepted++;
    return inflated === hex(expected.accepted) || (expected.mayRefuse && inflated === undefined);
  };
  fc.assert(
    fc.property(stream, fc.array(change, { minLength: 1, maxLength: 3 }), ({ deflated }, changes) => {
      const bytes = Buffer.from(deflated);
      for (const [where, bits] of changes) bytes[Math.floor(where * bytes.length)]! ^= bits;
      return agree(bytes);
    }),
    { numRuns: runs(5_000) },
  );
  t.ok(accepted > 100, `${accepted} changed streams were streams all the same`);
  fc.assert(
    fc.property(stream, fc.nat(600), ({ deflated }, length) => agree(deflated.subarray(0, length))),
    { numRuns: runs(1_000) },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 7 }), (bytes, first) => {
      // The block's type is drawn evenly: most random bytes begin with a stored block that is none.
      if (bytes.length > 0) bytes[0] = (bytes[0]! & ~7) | first;
      return agree(bytes);
    }),
    { numRuns: runs(5_000) },
  );
  t.end();
});

t.test('inflate: bits that a stream leaves over in its last byte are zero', (t) => {
  // A fixed block that says "a": 3 bits of header, 8 of the letter, 7 of the end; 6 are left over.
  const stream = deflateRawSync('a', { dictionary, strategy: Z_FIXED });
  t.equal(hex(stream), '4b0400');
  t.equal(hex(inflater.inflate(stream)), '61');
  for (let bit = 2; bit < 8; bit++) {
    const stray = Buffer.of(stream[0]!, stream[1]!, stream[2]! | (1 << bit));
    t.equal(hex(byZlib(stray)), '61', 'zlib does not look');
    t.equal(inflater.inflate(stray), undefined, `bit ${bit}`);
  }
  t.end();
});

t.test('inflate: output is bounded to the byte, and so are blocks', (t) => {
  for (const fill of [0x20, undefined]) {
    const content = Buffer.from(Array.from({ length: MAX + 1 }, (_, index) => fill ?? (index * 97) & 255));
    t.equal(inflater.inflate(deflateRawSync(content, { dictionary })), undefined);
    t.equal(inflater.inflate(deflateRawSync(content, { dictionary, level: 0 })), undefined);
    t.same(
      Buffer.from(inflater.inflate(deflateRawSync(content.subarray(1), { dictionary }))!),
      content.subarray(1),
    );
  }
  const empty = Buffer.of(0, 0, 0, 0xff, 0xff);
  const last = Buffer.of(1, 0, 0, 0xff, 0xff);
  t.same(inflater.inflate(Buffer.concat([...Array<Buffer>(31).fill(empty), last])), new Uint8Array(0));
  t.equal(inflater.inflate(Buffer.concat([...Array<Buffer>(32).fill(empty), last])), undefined);
  t.end();
});

t.test(
  'inflate: nothing of one stream is seen by the next: distances reach no further back than the dictionary',
  (t) => {
    const secret = Buffer.from('a text that only the first stream holds');
    t.same(Buffer.from(inflater.inflate(deflateRawSync(secret, { dictionary }))!), secret);
    // A stream made with a longer dictionary copies from before ours.
    const longer = Buffer.concat([secret, dictionary]);
    const reaching = deflateRawSync(secret, { dictionary: longer, level: 9 });
    t.same(inflateRawSync(reaching, { dictionary: longer }), secret);
    t.equal(inflater.inflate(reaching), undefined);
    t.equal(byZlib(reaching), undefined);
    const first = inflater.inflate(deflateRawSync('one', { dictionary }))!;
    inflater.inflate(deflateRawSync('two', { dictionary }));
    t.equal(Buffer.from(first).toString(), 'one', 'and a result is not written over');
    t.end();
  },
);
