import t from 'tap';
import { leaks, type RestReading } from '../../bench/leak.ts';

const run = (of: (at: number) => Partial<RestReading>): RestReading[] =>
  Array.from({ length: 40 }, (_, at) => ({ descriptors: 40, resident: 60e6, ...of(at) }));

t.test('soak: a process that grows up and then stays as it is leaks nothing', (t) => {
  t.strictSame(
    leaks(run((at) => ({ resident: at < 8 ? 40e6 + at * 5e6 : 80e6, descriptors: 40 + (at % 3) }))),
    [],
  );
  t.end();
});

t.test('soak: memory or descriptors that grow until the end are told', (t) => {
  t.strictSame(leaks(run((at) => ({ resident: 60e6 + at * 3e6 }))), ['memory grew from 104 to 164 MB']);
  t.strictSame(leaks(run((at) => ({ descriptors: 40 + at }))), ['descriptors grew from 54.5 to 74.5']);
  t.end();
});

t.test('soak: few readings say nothing', (t) => {
  t.strictSame(leaks(run((at) => ({ resident: at * 1e9 })).slice(0, 7)), []);
  t.end();
});
