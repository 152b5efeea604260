import { randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import t from 'tap';
import { fromCompact } from '../../src/identity/compact.ts';

t.test('attack: a token that unpacks to more than a token may be is no token', (t) => {
  const wire = (payloadBytes: number): Uint8Array =>
    Buffer.concat([
      Buffer.of(1, 64),
      randomBytes(64),
      deflateRawSync(Buffer.from(`header\n${'x'.repeat(payloadBytes)}`)),
    ]);
  t.equal(fromCompact(wire(8_000))?.payload.length, 8_000, 'what is within the bound is read');
  for (const bytes of [8_192, 1 << 20, 16 << 20])
    t.equal(fromCompact(wire(bytes)), undefined, `${bytes} bytes`);
  t.end();
});
