import fc from 'fast-check';
import t from 'tap';
import { RotationKeeper } from '../../src/rotation/keeper.ts';
import { rotationAt, type Generation } from '../../src/rotation/schedule.ts';
import { StoredObject } from '../support/shared-objects.ts';

const POLICY = { period: 1_000, overlap: 100, life: 50 };
const at = (...created: number[]): Generation[] => created.map((createdAt) => ({ createdAt }));

t.test(
  'rotation: a new generation is published before it signs, and the old one after it has stopped',
  (t) => {
    const list = at(0, 1_000);
    const row = (now: number) => {
      const { active, published, due } = rotationAt(list, now, POLICY);
      return [active?.createdAt, published.map(({ createdAt }) => createdAt), due];
    };
    t.strictSame(row(1_000), [0, [0, 1_000], false]);
    t.strictSame(row(1_099), [0, [0, 1_000], false]);
    t.strictSame(row(1_100), [1_000, [0, 1_000], false]);
    t.strictSame(row(1_149), [1_000, [0, 1_000], false]);
    t.strictSame(row(1_150), [1_000, [1_000], false]);
    t.strictSame(row(2_000), [1_000, [1_000], true]);
    t.strictSame(row(-500), [0, [0, 1_000], false], 'a clock set back finds who was active then');
    t.strictSame(rotationAt(at(), 5, POLICY), { active: undefined, published: [], due: true });
    t.end();
  },
);

t.test(
  'rotation: whatever is active has been published for the overlap, and what it signed dies before it is dropped',
  (t) => {
    const times = fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(times, fc.integer({ min: 0, max: 25_000 }), (created, now) => {
        const list = at(...new Set(created));
        const { active, published } = rotationAt(list, now, POLICY);
        if (active === undefined || !published.includes(active)) return false;
        const first = Math.min(...created);
        if (active.createdAt !== first && active.createdAt + POLICY.overlap > now) return false;
        // Who signed at any time in the last `life` seconds is believed still.
        const before = rotationAt(list, now - POLICY.life + 1, POLICY).active!;
        return published.includes(before);
      }),
    );
    t.end();
  },
);

interface Numbered extends Generation {
  readonly maker: string;
}

function keeper(stored: StoredObject, maker: string, clock: { now: number }): RotationKeeper<Numbered> {
  return new RotationKeeper<Numbered>({
    object: stored.handle(),
    policy: POLICY,
    now: () => clock.now,
    make: (now) => Promise.resolve({ createdAt: now, maker }),
    decode: (data) => Promise.resolve(JSON.parse(data['all'] ?? '[]') as Numbered[]),
    encode: (generations) => ({ all: JSON.stringify(generations) }),
  });
}

t.test('rotation: of two replicas that start at once one makes the secret, and both use it', async (t) => {
  const stored = new StoredObject();
  const clock = { now: 7 };
  const [one, two] = [keeper(stored, 'one', clock), keeper(stored, 'two', clock)];
  t.teardown(() => [one, two].forEach((each) => each.close()));
  await Promise.all([one.start(), two.start()]);
  t.equal(stored.writes, 1);
  t.equal(one.rotation.active?.maker, two.rotation.active?.maker);
});

t.test('rotation: a replica that is overtaken while it writes takes what the other made', async (t) => {
  const stored = new StoredObject();
  const clock = { now: 7 };
  stored.beforeWrite = () => stored.set({ all: JSON.stringify([{ createdAt: 6, maker: 'faster' }]) });
  const slow = keeper(stored, 'slow', clock);
  t.teardown(() => slow.close());
  await slow.start();
  t.equal(slow.rotation.active?.maker, 'faster');
});

t.test('rotation: replicas rotate with the clock, tell it once, and drop what has ended', async (t) => {
  const stored = new StoredObject();
  const clock = { now: 0 };
  const one = keeper(stored, 'one', clock);
  t.teardown(() => one.close());
  let told = 0;
  one.subscribe(() => told++);
  await one.start();
  t.equal(told, 1);
  clock.now = 1_000;
  await one.look();
  await one.look();
  t.equal(told, 2);
  t.strictSame(
    one.rotation.published.map(({ createdAt }) => createdAt),
    [0, 1_000],
  );
  t.equal(one.rotation.active?.createdAt, 0);
  clock.now = 1_100;
  await one.look();
  t.equal(one.rotation.active?.createdAt, 1_000);
  clock.now = 2_000;
  await one.look();
  t.strictSame(JSON.parse(stored.contents!.data['all']!), [
    { createdAt: 1_000, maker: 'one' },
    { createdAt: 2_000, maker: 'one' },
  ]);
});

t.test('rotation: an object that is there and cannot be used is not replaced', async (t) => {
  for (const data of [{ all: '[]' }, { all: 'rubbish' }]) {
    const stored = new StoredObject();
    stored.set(data);
    await t.rejects(keeper(stored, 'one', { now: 1 }).start());
    t.equal(stored.contents?.data, data);
    t.equal(stored.writes, 0);
  }
});

t.test('rotation: while the object cannot be had the last known generations count', async (t) => {
  const stored = new StoredObject();
  const clock = { now: 0 };
  const one = keeper(stored, 'one', clock);
  t.teardown(() => one.close());
  await one.start();
  stored.broken = true;
  clock.now = 1_500;
  await t.rejects(one.look(), /does not answer/);
  t.equal(one.rotation.active?.createdAt, 0);
});
