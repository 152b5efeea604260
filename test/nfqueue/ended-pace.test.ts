/** How often conntrack is read for connections that have ended. */
import t from 'tap';
import { EndedPace } from '../../src/nfqueue/ended-pace.ts';

t.test('ended connections: what takes long is done seldom, and at once where the table grows', (t) => {
  const cases: {
    name: string;
    tookMs: number;
    left: number;
    laterMs: number;
    flows: number;
    due: boolean;
  }[] = [
    { name: 'a twentieth of the time', tookMs: 10, left: 100, laterMs: 190, flows: 100, due: true },
    { name: 'not more of it', tookMs: 10, left: 100, laterMs: 180, flows: 100, due: false },
    { name: 'slow, and nothing came', tookMs: 2_000, left: 50, laterMs: 30_000, flows: 50, due: false },
    { name: 'slow, and few came', tookMs: 2_000, left: 50, laterMs: 1_000, flows: 4_000, due: false },
    { name: 'slow, and many came', tookMs: 2_000, left: 50, laterMs: 1_000, flows: 4_146, due: true },
    {
      name: 'many rest, some came',
      tookMs: 2_000,
      left: 100_000,
      laterMs: 1_000,
      flows: 149_999,
      due: false,
    },
    { name: 'many rest, many came', tookMs: 2_000, left: 100_000, laterMs: 1_000, flows: 150_000, due: true },
    { name: 'fewer than before', tookMs: 2_000, left: 9_000, laterMs: 1_000, flows: 10, due: false },
  ];
  for (const { name, tookMs, left, laterMs, flows, due } of cases) {
    const pace = new EndedPace();
    pace.read(5_000, 5_000 + tookMs, left);
    t.equal(pace.isDue(5_000 + tookMs + laterMs, flows), due, name);
  }
  t.equal(new EndedPace().isDue(0, 0), true, 'at the beginning');
  t.end();
});

t.test('ended connections: however slow reading is, at a steady rate the table stays within a bound', (t) => {
  // 8,000 connections a second that end at once, looked at every second; reading them takes a second, as beside much other work.
  const pace = new EndedPace();
  let [flows, most, now] = [0, 0, 0];
  for (let second = 0; second < 120; second++) {
    now += 1_000;
    flows += 8_000;
    if (pace.isDue(now, flows)) {
      pace.read(now, now + 1_000, 8_000);
      now += 1_000;
      most = Math.max(most, flows + 8_000);
      flows = 8_000;
    }
    most = Math.max(most, flows);
  }
  t.ok(most <= 32_000, `${most} at most`);
  t.end();
});
