import fc from 'fast-check';
import t from 'tap';
import { carvedBytes } from '../../src/lib/carved-bytes.ts';

t.test('carved bytes: each has its length, is zero, and shares no byte with another', (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 20_000 }), { maxLength: 60 }), (lengths) => {
      const all = lengths.map((length, index) => {
        const bytes = carvedBytes(length);
        const blank = bytes.length === length && bytes.every((byte) => byte === 0);
        return { bytes: bytes.fill(index + 1), index, blank };
      });
      return all.every(({ bytes, index, blank }) => blank && bytes.every((byte) => byte === index + 1));
    }),
  );
  t.end();
});
