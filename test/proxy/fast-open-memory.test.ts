import t from 'tap';
import fc from 'fast-check';
import { FastOpenMemory, type SynContent, type Withheld } from '../../src/proxy/fast-open-memory.ts';
import type { DialReport } from '../../src/relay/data-path.ts';

const TAKEN: DialReport = { synRetransmits: 0, synData: 'taken' };
const NO_COOKIE: DialReport = { synRetransmits: 0, synData: 'none' };
const DATA_LOST: DialReport = { synRetransmits: 1, synData: 'refused' };
const MARK_LOST: DialReport = { synRetransmits: 1, synData: 'none' };
const SERVER = '10.0.0.1';

function memory() {
  const told: string[] = [];
  const withheld: Withheld[] = [];
  const under = new FastOpenMemory((outcome, what) => {
    told.push(outcome);
    if (what !== undefined) withheld.push(what);
  });
  /** A dial that begins and ends at this time. @returns what its SYN held */
  const dial = (now: number, report: DialReport, begunAt = now): SynContent => {
    const sent = under.contentFor(SERVER, begunAt);
    under.note(SERVER, sent, begunAt, report, now);
    return sent;
  };
  return { under, told, withheld, dial };
}

t.test('fast open memory: data lost once is kept back for a minute, the mark stays', (t) => {
  const { under, dial, told, withheld } = memory();
  t.equal(dial(0, NO_COOKIE), 'data');
  t.equal(dial(1, TAKEN), 'data');
  dial(2, DATA_LOST);
  t.strictSame(withheld, [{ address: SERVER, withheld: 'data', seconds: 60 }]);
  t.equal(dial(3, NO_COOKIE), 'mark');
  t.equal(under.contentFor('10.0.0.2', 3), 'data', 'other addresses are others');
  t.equal(dial(60_001, NO_COOKIE), 'mark');
  t.equal(dial(60_002, TAKEN), 'data', 'then it is tried again');
  t.strictSame(told, ['no-cookie', 'taken', 'lost', 'data-withheld', 'data-withheld', 'taken']);
  t.end();
});

t.test(
  'fast open memory: a path that goes on eating data is tried ever more rarely, once an hour at last',
  (t) => {
    const { dial, withheld } = memory();
    let now = 0;
    for (let round = 0; round < 9; round++) {
      dial(now, DATA_LOST);
      now += withheld.at(-1)!.seconds * 1000;
    }
    t.strictSame(
      withheld.map(({ seconds }) => seconds),
      [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600],
    );
    t.end();
  },
);

t.test('fast open memory: a lost mark is believed the second time, of dials one after the other', (t) => {
  const { dial, withheld } = memory();
  dial(1_000, MARK_LOST);
  t.equal(dial(1_001, MARK_LOST, 0), 'data', 'begun before the first was noticed');
  t.strictSame(withheld, [], 'says nothing more');
  dial(3_000, MARK_LOST, 1_500);
  t.strictSame(withheld, [{ address: SERVER, withheld: 'mark', seconds: 60 }]);
  t.equal(dial(3_001, NO_COOKIE), 'nothing');
  t.end();
});

t.test('fast open memory: a mark that passes in between makes the loss an accident', (t) => {
  const { dial, withheld } = memory();
  dial(1_000, MARK_LOST);
  dial(2_000, NO_COOKIE);
  dial(3_000, MARK_LOST);
  t.strictSame(withheld, []);
  dial(4_000, MARK_LOST);
  t.equal(withheld.length, 1);
  t.end();
});

t.test('fast open memory: where the plain SYN was lost as well nothing is concluded', (t) => {
  const { dial, withheld, told } = memory();
  for (let at = 0; at < 10; at++) {
    t.equal(dial(at * 10_000, { synRetransmits: 2, synData: at % 2 === 0 ? 'refused' : 'none' }), 'data');
  }
  t.strictSame(withheld, []);
  t.equal(told.filter((outcome) => outcome === 'lost').length, 10);
  t.end();
});

t.test('fast open memory: of many dials at the same moment one tells, and forgetting is at once', (t) => {
  const { under, dial, withheld } = memory();
  for (let at = 0; at < 20; at++) under.note(SERVER, 'data', 0, DATA_LOST, 1_000 + at);
  t.equal(withheld.length, 1);
  t.equal(dial(2_000, NO_COOKIE), 'mark');
  under.forget(SERVER);
  t.equal(dial(2_001, NO_COOKIE), 'data');
  t.end();
});

t.test('fast open memory: whatever happens, all is tried again within an hour of the last dial', (t) => {
  const report = fc.record<DialReport>({
    synRetransmits: fc.nat({ max: 3 }),
    synData: fc.constantFrom('none', 'refused', 'taken'),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(report, fc.nat({ max: 100_000 }))), (dials) => {
      const { under, dial } = memory();
      let now = 0;
      for (const [what, pause] of dials) dial((now += pause), what);
      return under.contentFor(SERVER, now + 3_600_000) === 'data';
    }),
    { numRuns: 300 },
  );
  t.end();
});
