import type { Test } from 'tap';
import type { Source } from '../../src/sources/source.ts';

/** What a source is run against: a small cluster that the test can change and break. */
export interface SourceRig {
  readonly source: Source;
  /** Puts a policy of this name in force, or takes it away. */
  policy(name: string, present: boolean): void | Promise<void>;
  /** Makes the source unusable, or mends it. */
  breakSource(broken: boolean): void | Promise<void>;
}

/** The contract of the seam, run against one implementation. The rig's cluster has the own pod `demo/self` and no policy. */
export function testSourceCompliance(
  t: Test,
  name: string,
  create: (t: Test) => Promise<SourceRig> | SourceRig,
): void {
  const names = (source: Source): string[] => source.snapshot?.policies.map((policy) => policy.name) ?? [];

  t.test(`${name}: start resolves at the first whole snapshot, which has the own pod`, async (t) => {
    const { source } = await create(t);
    t.equal(source.snapshot, undefined);
    await source.start();
    t.match(source.snapshot, { self: { namespace: 'demo', name: 'self' }, mode: 'enforce', policies: [] });
    t.strictSame(source.problems, []);
  });

  t.test(`${name}: every change is a snapshot with a higher version, told to who listens`, async (t) => {
    const rig = await create(t);
    await rig.source.start();
    const versions = [rig.source.snapshot!.version];
    for (const present of [true, false, true]) {
      const told = next(rig.source);
      await rig.policy('one', present);
      await told;
      versions.push(rig.source.snapshot!.version);
      t.strictSame(names(rig.source), present ? ['one'] : []);
    }
    t.strictSame(
      versions,
      versions.toSorted((a, b) => a - b),
    );
    t.equal(new Set(versions).size, versions.length);
  });

  t.test(`${name}: who stopped listening is told nothing`, async (t) => {
    const rig = await create(t);
    await rig.source.start();
    let heard = 0;
    const stop = rig.source.subscribe(() => heard++);
    stop();
    const told = next(rig.source);
    await rig.policy('one', true);
    await told;
    t.equal(heard, 0);
  });

  t.test(`${name}: a failure is a problem, keeps the last state, and ends`, async (t) => {
    const rig = await create(t);
    await rig.policy('one', true);
    await rig.source.start();
    const before = rig.source.snapshot;
    let told = next(rig.source);
    await rig.breakSource(true);
    await told;
    t.ok(rig.source.problems.length > 0);
    t.ok(rig.source.problems.every((problem) => problem.reason !== ''));
    t.equal(rig.source.snapshot, before);
    told = next(rig.source);
    await rig.breakSource(false);
    await told;
    t.strictSame(rig.source.problems, []);
    t.strictSame(names(rig.source), ['one']);
  });

  t.test(`${name}: broken from the start there is no snapshot until it is mended`, async (t) => {
    const rig = await create(t);
    await rig.breakSource(true);
    const told = next(rig.source);
    const started = rig.source.start();
    await told;
    t.equal(rig.source.snapshot, undefined);
    t.ok(rig.source.problems.length > 0);
    await rig.breakSource(false);
    await started;
    t.ok(rig.source.snapshot);
  });

  t.test(`${name}: after close nothing is told any more`, async (t) => {
    const rig = await create(t);
    await rig.source.start();
    await rig.source.close();
    let heard = 0;
    rig.source.subscribe(() => heard++);
    await rig.policy('one', true);
    await new Promise((resolve) => setTimeout(resolve, 1_300));
    t.equal(heard, 0);
  });
}

function next(source: Source): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('nothing was told for 5 s')), 5_000);
    const stop = source.subscribe(() => {
      clearTimeout(timer);
      stop();
      resolve();
    });
  });
}
