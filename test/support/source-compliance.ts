import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { Source } from '../../src/sources/source.ts';

/** What a source of the own pod `shop/web` is to say. */
export interface SourceContents {
  readonly labels: Readonly<Record<string, string>>;
  /** Names of NetworkPolicies in `shop`. */
  readonly policies: readonly string[];
}

/** Where a source gets its knowledge, in the hands of a test. */
export interface SourceOrigin {
  /** A source on this origin; not started. */
  open(): Source;
  /** Makes it say this, and nothing wrong. */
  write(contents: SourceContents): Promise<void>;
  /** Makes it unusable until the next {@link write}. */
  spoil(): Promise<void>;
  remove(): Promise<void>;
}

/** Nothing takes longer than that, unless it never comes. */
const PATIENCE_MS = 40_000;
/** Long enough for a source to notice what it should not act upon. */
const NOTICE_MS = 1_500;

/** Waits until something is so. */
export async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await sleep(10);
  }
}

/** The contract of {@link Source}: every implementation passes it. */
export function testSource(t: Test, subject: string, makeOrigin: () => Promise<SourceOrigin>): void {
  const test = (criterion: string, run: (t: Test, origin: SourceOrigin) => Promise<void>): void => {
    t.test(`${subject}: ${criterion}`, async (t) => {
      const origin = await makeOrigin();
      t.teardown(() => origin.remove());
      await run(t, origin);
    });
  };
  const opened = (t: Test, origin: SourceOrigin): Source => {
    const source = origin.open();
    t.teardown(() => source.close());
    return source;
  };
  const names = (source: Source): string[] =>
    source.snapshot?.policies.map(({ name }) => name).toSorted() ?? [];

  test('there is no snapshot before the start', async (t, origin) => {
    await origin.write({ labels: { app: 'web' }, policies: [] });
    const source = opened(t, origin);
    await sleep(NOTICE_MS);
    t.equal(source.snapshot, undefined);
  });

  test('the start ends with a whole snapshot of what is there', async (t, origin) => {
    await origin.write({ labels: { app: 'web' }, policies: ['a', 'b'] });
    const source = opened(t, origin);
    const before = Date.now();
    await source.start();
    t.strictSame(names(source), ['a', 'b']);
    t.equal(source.snapshot?.self.name, 'web');
    t.match(source.snapshot?.self.labels, { app: 'web' });
    t.equal(source.snapshot?.selfNamespaceLabels['kubernetes.io/metadata.name'], 'shop');
    t.equal(source.snapshot?.directory.pod('shop', 'web')?.uid, source.snapshot?.self.uid);
    t.ok(source.snapshot!.takenAt >= before && source.snapshot!.takenAt <= Date.now());
    t.strictSame(source.problems, []);
  });

  test('the start waits as long as nothing usable is there', async (t, origin) => {
    await origin.spoil();
    const source = opened(t, origin);
    let started = false;
    const start = source.start().then(() => (started = true));
    await until('the problem is told', () => source.problems.length > 0);
    t.equal(source.snapshot, undefined);
    t.notOk(started);
    await origin.write({ labels: {}, policies: ['a'] });
    await start;
    t.strictSame(names(source), ['a']);
    t.strictSame(source.problems, []);
  });

  test('every change gives a new snapshot with a higher version, and leaves the old one as it was', async (t, origin) => {
    await origin.write({ labels: { app: 'web' }, policies: [] });
    const source = opened(t, origin);
    await source.start();
    const first = source.snapshot!;
    await origin.write({ labels: { app: 'web' }, policies: ['a'] });
    await until('the policy is there', () => names(source).includes('a'));
    const second = source.snapshot!;
    t.ok(second.version > first.version);
    t.strictSame(first.policies, []);
    await origin.write({ labels: { app: 'db' }, policies: ['a'] });
    await until('the label is there', () => source.snapshot?.self.labels['app'] === 'db');
    t.ok(source.snapshot!.version > second.version);
    t.equal(source.snapshot!.policies[0], second.policies[0], 'what did not change is the same object');
    await origin.write({ labels: { app: 'db' }, policies: [] });
    await until('the policy is gone', () => names(source).length === 0);
  });

  test('what says the same gives no new snapshot', async (t, origin) => {
    await origin.write({ labels: { app: 'web' }, policies: ['a'] });
    const source = opened(t, origin);
    await source.start();
    const first = source.snapshot;
    await origin.write({ labels: { app: 'web' }, policies: ['a'] });
    await sleep(NOTICE_MS);
    t.equal(source.snapshot, first);
  });

  test('an origin that fails leaves the last snapshot in force, is told of, and is told of no more when it is well', async (t, origin) => {
    await origin.write({ labels: { app: 'web' }, policies: ['a'] });
    const source = opened(t, origin);
    await source.start();
    const good = source.snapshot;
    await origin.spoil();
    await until('the problem is told', () => source.problems.length > 0);
    await sleep(NOTICE_MS);
    t.equal(source.snapshot, good);
    for (const { reason } of source.problems) t.not(reason, '');
    await origin.write({ labels: { app: 'web' }, policies: ['a', 'b'] });
    await until('it is well', () => source.problems.length === 0 && names(source).length === 2);
  });

  test('listeners hear of changes of snapshot and of problems, until they do not want to', async (t, origin) => {
    await origin.write({ labels: {}, policies: [] });
    const source = opened(t, origin);
    let heard = 0;
    let kept = 0;
    const stop = source.subscribe(() => heard++);
    source.subscribe(() => kept++);
    await source.start();
    t.equal(heard, 1);
    await origin.spoil();
    await until('the problem was heard', () => heard > 1);
    t.ok(source.problems.length > 0, 'a listener finds the change made');
    stop();
    stop();
    const before = { heard, kept };
    await origin.write({ labels: {}, policies: ['a'] });
    await until('the other listener heard', () => kept > before.kept);
    t.equal(heard, before.heard);
  });

  test('one listener that is there twice is taken back once', async (t, origin) => {
    await origin.write({ labels: {}, policies: [] });
    const source = opened(t, origin);
    let heard = 0;
    const listener = (): void => void heard++;
    source.subscribe(listener);
    const stop = source.subscribe(listener);
    stop();
    await source.start();
    t.equal(heard, 1);
  });

  test('closing ends a start that waits, keeps the snapshot, and silences it', async (t, origin) => {
    await origin.spoil();
    const waiting = opened(t, origin);
    const start = waiting.start();
    await until('the problem is told', () => waiting.problems.length > 0);
    await waiting.close();
    await start;
    await origin.write({ labels: {}, policies: [] });
    const source = opened(t, origin);
    await source.start();
    const last = source.snapshot;
    let heard = 0;
    source.subscribe(() => heard++);
    await source.close();
    await source.close();
    await origin.write({ labels: {}, policies: ['a'] });
    await sleep(NOTICE_MS);
    t.equal(source.snapshot, last);
    t.equal(heard, 0);
  });

  test('nothing of it is left behind when it is closed', async (t, origin) => {
    await origin.write({ labels: {}, policies: [] });
    const handles = (): string[] =>
      process
        .getActiveResourcesInfo()
        .filter((one) => one !== 'Timeout')
        .toSorted();
    const before = handles();
    const source = origin.open();
    await source.start();
    await source.close();
    // What the servers in this process have open comes and goes; the source's own goes, and that may take a moment.
    const surplus = (): string[] => {
      const left = handles();
      for (const one of before) {
        const at = left.indexOf(one);
        if (at >= 0) left.splice(at, 1);
      }
      return left;
    };
    await until('nothing is open that was not before', () => surplus().length === 0);
    t.strictSame(surplus(), []);
  });
}
