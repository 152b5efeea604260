import fc from 'fast-check';
import t from 'tap';
import { digits, spreadOf, spreadText } from '../../bench/statistics.ts';

t.test('benchmark: the median of an odd and of an even number of values', (t) => {
  t.equal(spreadOf([3, 1, 2])?.median, 2);
  t.equal(spreadOf([4, 1, 3, 2])?.median, 2.5);
  t.equal(spreadOf([])?.median, undefined);
  t.end();
});

t.test('benchmark: as many values lie above the median as below, and all within the spread', (t) => {
  fc.assert(
    fc.property(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }), (values) => {
      const { median, least, most, count } = spreadOf(values)!;
      const below = values.filter((value) => value < median).length;
      const above = values.filter((value) => value > median).length;
      return (
        count === values.length &&
        below <= values.length / 2 &&
        above <= values.length / 2 &&
        values.every((value) => value >= least && value <= most)
      );
    }),
  );
  t.end();
});

t.test('benchmark: numbers are written with three digits, whole from a hundred on', (t) => {
  const written: [number, string][] = [
    [0, '0'],
    [0.57345, '0.573'],
    [1.9, '1.9'],
    [20, '20'],
    [11.64, '11.6'],
    [138.4, '138'],
    [16_483.2, '16,483'],
    [Infinity, 'none'],
  ];
  for (const [value, text] of written) t.equal(digits(value), text);
  t.equal(spreadText({ median: 2, least: 1, most: 3, count: 3 }), '2 [1..3]');
  t.equal(spreadText({ median: 2, least: 2, most: 2, count: 1 }), '2');
  t.end();
});
