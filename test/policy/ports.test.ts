import fc from 'fast-check';
import t from 'tap';
import type { PolicyPort, Protocol } from '../../src/policy/model.ts';
import { compilePorts, portsInclude } from '../../src/policy/ports.ts';

const protocol = fc.constantFrom<Protocol>('TCP', 'UDP');
const range = fc
  .tuple(protocol, fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 8 }))
  .map(([protocol, port, more]): PolicyPort => ({ protocol, port, endPort: port + more }));

t.test('ports: ranges that overlap, touch or leave a gap of one hold just their ports', (t) => {
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 8 }), protocol, (ranges, protocol) => {
      const compiled = compilePorts(ranges);
      for (let port = 0; port <= 50; port++) {
        const expected = ranges.some(
          (one) => one.protocol === protocol && port >= Number(one.port) && port <= one.endPort!,
        );
        if (portsInclude(compiled, protocol, port, undefined) !== expected) return false;
      }
      return true;
    }),
    { numRuns: 2000 },
  );
  t.end();
});

t.test('ports: the first and the last port that there are', (t) => {
  const compiled = compilePorts([{ protocol: 'TCP', port: 1, endPort: 65_535 }]);
  t.strictSame(
    [0, 1, 65_535].map((port) => portsInclude(compiled, 'TCP', port, undefined)),
    [false, true, true],
  );
  t.end();
});
