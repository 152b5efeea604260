/** Open flows are judged again in turns: none is left out, none waits for ever, and others have their turns meanwhile. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { allowed, denied, type Judgement } from '../../src/proxy/judgement.ts';
import { type OpenFlow, OpenFlows } from '../../src/proxy/open-flows.ts';

/** Longer than this no turn lasts, however little of it a flow takes. */
const FLOW_MS = 1;
/** The look at the clock comes at least so often. */
const MOST_OF_A_TURN = 32;

/** A world that changes, and flows that hold by what it says. */
class World {
  version = 0;
  allows = true;
  /** What judging one takes. */
  tookMs = 0;
  readonly problems: unknown[] = [];
  beforeTurn = (): void => {};
  readonly flows = new OpenFlows(
    (problem) => this.problems.push(problem),
    () => this.beforeTurn(),
  );

  add(): Told {
    const one = new Told(this);
    this.flows.add(one);
    return one;
  }

  change(allows: boolean): void {
    this.version++;
    this.allows = allows;
    this.flows.rejudge();
  }
}

class Told implements OpenFlow {
  readonly direction = 'inbound';
  readonly judgement = allowed('not-isolated');
  readonly #world: World;
  judgedAt: number;
  cut = false;
  broken = false;

  constructor(world: World) {
    this.#world = world;
    this.judgedAt = world.version;
  }

  readonly rejudge = (): Judgement => {
    const { allows, tookMs, version } = this.#world;
    for (const until = performance.now() + tookMs; performance.now() < until;) continue;
    if (this.broken) throw new Error('a defect');
    this.judgedAt = version;
    return allows ? allowed('not-isolated') : denied('policy-denied', 'enforce', {});
  };

  judge(): void {}

  deny(): void {
    this.cut = true;
    this.#world.flows.delete(this);
  }
}

async function until(holds: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 60_000; !holds() && Date.now() < deadline;) await nextTurn();
}

t.test('open flows: every flow that is denied is cut, and others have a turn after a few', async (t) => {
  const world = new World();
  world.tookMs = FLOW_MS;
  const all = Array.from({ length: 400 }, () => world.add());
  const cut = (): number => all.filter((one) => one.cut).length;
  world.change(false);
  t.ok(cut() > 0, 'some at once');
  let before = 0;
  for (let now = cut(); now < all.length; now = cut()) {
    t.ok(now - before <= MOST_OF_A_TURN, `${now - before} of them in one turn`);
    t.ok(now > before, 'each turn cuts some');
    before = now;
    await nextTurn();
  }
  t.equal(world.flows.size, 0);
});

t.test(
  'open flows: a change while they are judged counts for those that waited, and for the others, too',
  async (t) => {
    const world = new World();
    world.tookMs = FLOW_MS;
    const all = Array.from({ length: 200 }, () => world.add());
    world.change(false);
    const lost = all.filter((one) => one.cut);
    t.ok(lost.length > 0 && lost.length < all.length);
    world.change(true);
    await until(() => all.every((one) => one.cut || one.judgedAt === world.version));
    t.equal(
      all.filter((one) => one.cut).length,
      lost.length,
      'who is allowed again before its turn is not cut',
    );
    world.change(true);
    world.change(false);
    await until(() => world.flows.size === 0);
    t.ok(all.every((one) => one.cut));
  },
);

t.test('open flows: with a change in every turn each flow is judged all the same', async (t) => {
  const world = new World();
  world.tookMs = FLOW_MS;
  const all = Array.from({ length: 200 }, () => world.add());
  // A turn judges one flow at least.
  for (let turn = 0; turn <= all.length; turn++) {
    world.change(true);
    if (all.every((one) => one.judgedAt > 0)) break;
    await nextTurn();
  }
  t.ok(all.every((one) => one.judgedAt > 0));
  world.flows.close();
});

t.test('open flows: one whose judging throws is cut, and those behind it are judged', async (t) => {
  const world = new World();
  const all = Array.from({ length: 50 }, () => world.add());
  all[10]!.broken = true;
  world.change(true);
  await until(() => all.every((one) => one.cut || one.judgedAt === world.version));
  t.strictSame(
    all.filter((one) => one.cut),
    [all[10]],
  );
  t.match(world.problems, [{ message: 'a defect' }]);
});

t.test(
  'open flows: those that have ended unseen are not cut by a later turn, and a defect there keeps none from its turn',
  async (t) => {
    const world = new World();
    world.tookMs = FLOW_MS;
    const all = Array.from({ length: 200 }, () => world.add());
    const last = all.at(-1)!;
    let turns = 0;
    world.beforeTurn = () => {
      turns++;
      world.flows.delete(last);
      throw new Error('a defect');
    };
    world.change(false);
    await until(() => world.flows.size === 0);
    t.ok(turns > 0);
    t.equal(world.problems.length, turns);
    t.strictSame(
      all.filter((one) => !one.cut),
      [last],
    );
  },
);

t.test('open flows: after a close none is judged any more', async (t) => {
  const world = new World();
  world.tookMs = FLOW_MS;
  const all = Array.from({ length: 100 }, () => world.add());
  world.change(false);
  const { size } = world.flows;
  world.flows.close();
  await nextTurn();
  await nextTurn();
  t.equal(world.flows.size, size);
  t.equal(all.filter((one) => !one.cut).length, size);
});

t.test(
  'open flows: whatever comes, ends and changes between turns, in the end all are judged by what holds',
  async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), count: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ kind: fc.constant('end' as const), which: fc.nat(1_000) }),
      fc.record({ kind: fc.constant('change' as const), allows: fc.boolean() }),
      fc.record({ kind: fc.constant('turn' as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const world = new World();
        world.tookMs = 0.5;
        const all: Told[] = [];
        const open = (): Told[] => all.filter((one) => !one.cut);
        for (const one of steps) {
          if (one.kind === 'add') for (let at = 0; at < one.count; at++) all.push(world.add());
          else if (one.kind === 'change') world.change(one.allows);
          else if (one.kind === 'turn') await nextTurn();
          else {
            const ended = open()[one.which % Math.max(1, open().length)];
            if (ended !== undefined) world.flows.delete(ended);
            if (ended !== undefined) all.splice(all.indexOf(ended), 1);
          }
        }
        await until(() => open().every((one) => one.judgedAt === world.version));
        // Those that came while a change that denies was in force were let in by somebody else.
        return open().every((one) => one.judgedAt === world.version);
      }),
      { numRuns: 60 },
    );
  },
);
