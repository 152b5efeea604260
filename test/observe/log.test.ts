import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createLog, isLogLevel, LOG_LEVELS, type LogLevel } from '../../src/observe/log.ts';

function logging(t: Test, level: LogLevel) {
  const file = join(t.testdir(), 'log');
  const descriptor = openSync(file, 'a');
  t.teardown(() => closeSync(descriptor));
  const log = createLog(level, descriptor);
  return {
    log,
    lines: () =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

t.test('log: a line is one JSON object with level, time and message, there at once', (t) => {
  const { log, lines } = logging(t, 'info');
  log.info({ version: 3 }, 'policy in force');
  t.match(lines(), [{ level: 'info', time: /^\d{4}-\d\d-\d\dT.*Z$/, version: 3, msg: 'policy in force' }]);
  t.strictSame(Object.keys(lines()[0]!), ['level', 'time', 'version', 'msg']);
  t.end();
});

t.test('log: an error comes with message and stack, and still on one line', (t) => {
  const { log, lines } = logging(t, 'info');
  log.error({ err: new Error('two\nlines') }, 'defect');
  t.equal(lines().length, 1);
  t.match(lines()[0]!['err'], { message: 'two\nlines', stack: /log\.test/ });
  t.end();
});

t.test('log: the level counts from the next line on, also when it is changed at run time', (t) => {
  const { log, lines } = logging(t, 'warn');
  const everything = (): void => {
    for (const level of LOG_LEVELS) log[level](level);
  };
  everything();
  log.level = 'debug';
  everything();
  t.strictSame(
    lines().map(({ msg }) => msg),
    ['warn', 'error', 'debug', 'info', 'warn', 'error'],
  );
  t.end();
});

t.test('log: a level is one of four names', (t) => {
  t.ok(LOG_LEVELS.every(isLogLevel));
  for (const text of ['', 'trace', 'silent', 'INFO', 'info ', '30']) t.notOk(isLogLevel(text), text);
  t.end();
});
