import t from 'tap';
import { checkSettings, heapMegabytes, type InjectSettings, memoryBytes } from '../../src/inject/settings.ts';
import { SETTINGS } from './samples.ts';

t.test('injection settings: the defaults are good', (t) => {
  t.doesNotThrow(() => checkSettings(SETTINGS));
  t.end();
});

t.test('injection settings: what no pod could run with is refused, with flag and remedy', (t) => {
  const rows: [Partial<InjectSettings>, RegExp][] = [
    [{ image: '' }, /--image/],
    [{ image: 'a b' }, /--image a b/],
    [{ image: '-x' }, /--image/],
    [{ proxyUid: 0 }, /--proxy-uid 0/],
    [{ proxyUid: 999 }, /--proxy-uid 999/],
    [{ proxyUid: Number.NaN }, /--proxy-uid/],
    [{ authority: 'http://a:1' }, /--authority/],
    [{ authority: 'https://a:1/path' }, /--authority/],
    [{ authority: 'https://u:p@a:1' }, /--authority/],
    [{ authority: 'nothing' }, /--authority/],
    [{ memoryLimit: '32Mi' }, /at least 64Mi/],
    [{ memoryLimit: 'much' }, /--memory-limit much/],
    [{ memoryRequest: '256Mi' }, /is more than --memory-limit/],
    [{ cpuRequest: '0.1' }, /--cpu-request/],
    [{ drainSeconds: -1 }, /--drain/],
    [{ drainSeconds: 1.5 }, /--drain/],
  ];
  for (const [change, problem] of rows)
    t.throws(
      () => checkSettings({ ...SETTINGS, ...change }),
      { message: problem, exitCode: 2 },
      JSON.stringify(change),
    );
  t.end();
});

t.test('injection settings: the heap leaves room below the memory limit', (t) => {
  t.equal(memoryBytes('128Mi'), 134_217_728);
  t.equal(memoryBytes('1G'), 1_000_000_000);
  t.equal(memoryBytes('1.5Gi'), undefined);
  t.equal(heapMegabytes('128Mi'), 64);
  t.end();
});
