import t from 'tap';
import { DEFAULT_MARK_MASK, Marks } from '../../src/nfqueue/marks.ts';
import { MARK } from '../../src/redirect/plan.ts';

t.test('marks: the own mark is that of redirect mode, so that the same rules exempt the proxy', (t) => {
  t.strictSame(new Marks().own, MARK);
  t.equal(DEFAULT_MARK_MASK, MARK.mask);
  t.end();
});

t.test('marks: a generation is read back, and no other kind passes for verified', (t) => {
  for (const mask of [DEFAULT_MARK_MASK, 0xff, 0xff00_0000, 0x0003_fc00]) {
    const marks = new Marks(mask);
    for (let generation = 0; generation < 16; generation++) {
      const mark = marks.verified(generation);
      t.equal(marks.generationOf(mark), generation);
      t.equal((mark & marks.anyVerified.mask) >>> 0 === marks.anyVerified.value, true);
      t.equal((mark & ~marks.mask) >>> 0, 0);
    }
    for (const other of [0, marks.own.value, marks.stream.value, marks.withStream(0xffff_ffff)]) {
      t.equal(marks.generationOf(other), undefined);
      t.not((other & marks.anyVerified.mask) >>> 0, marks.anyVerified.value);
    }
  }
  t.end();
});

t.test("marks: others' bits stay as they are", (t) => {
  const marks = new Marks();
  t.equal(marks.withStream(0xf00f_ffff), (0xf00f_ffff | marks.stream.value) >>> 0);
  t.equal(marks.generationOf((marks.verified(5) | 0xf00f_ffff) >>> 0), 5);
  t.end();
});

t.test('marks: a mask that is not eight bits in a row is refused', (t) => {
  for (const mask of [0, 1, 0xf0, 0x1ff, 0xff00ff, 0xffff_ffff, 0x7f80_0001])
    t.throws(() => new Marks(mask), /eight bits in a row/);
  t.end();
});
