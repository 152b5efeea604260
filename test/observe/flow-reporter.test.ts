import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { FlowLog } from '../../src/observe/flow-log.ts';
import { FlowReporter } from '../../src/observe/flow-reporter.ts';
import { Metrics } from '../../src/observe/metrics.ts';
import type { FlowRecord } from '../../src/observe/record.ts';
import type { FlowFacts } from '../../src/proxy/flow.ts';
import { ALLOWED, DENIED, ENDING, FACTS, READINGS } from './facts.ts';
import { parseExposition } from './exposition.ts';

function reporting(t: Test, level = 'info') {
  const file = join(t.testdir(), 'flows.log');
  const logged: { flow: FlowRecord; msg: string; suppressed?: number }[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      logged.push(JSON.parse(String(chunk)) as (typeof logged)[number]);
      done();
    },
  });
  const metrics = new Metrics('1', () => READINGS);
  const flowLog = new FlowLog(file, (count) => metrics.droppedRecords(count));
  const reporter = new FlowReporter(metrics, pino({ level }, stream), flowLog);
  return {
    reporter,
    logged,
    records: async () => {
      await flowLog.close();
      const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
      return lines.map((line) => JSON.parse(line) as FlowRecord);
    },
    samples: async (name: string) =>
      parseExposition((await metrics.text()).body).filter((sample) => sample.name === name),
  };
}

t.test('flow reporter: counter, record, log line and recent flows of a denial say the same', async (t) => {
  const { reporter, logged, records, samples } = reporting(t);
  reporter.counted(FACTS, DENIED, 1.5);
  reporter.recorded(FACTS, DENIED, ENDING);
  const [record] = await records();
  const [counted] = await samples('countersign_connections_total');
  t.equal(counted?.value, 1);
  const { direction, verdict, reason, peer, handshake } = record!;
  t.strictSame(counted?.labels, { direction, verdict, reason, peer, handshake });
  t.equal(reason, 'policy-denied');
  t.strictSame(logged[0]?.flow, record);
  t.equal(logged[0]?.msg, 'connection deny');
  t.strictSame(reporter.recent.list(), [record]);
});

t.test('flow reporter: a connection that is cut is counted twice and recorded once, as denied', async (t) => {
  const { reporter, records, samples } = reporting(t);
  const cut = { ...DENIED, reason: 'policy-changed' } as const;
  reporter.counted(FACTS, ALLOWED, 2);
  reporter.counted(FACTS, cut, undefined);
  reporter.recorded(FACTS, cut, { ...ENDING, durationMs: 3_600_000 });
  reporter.relayed(ENDING.bytesIn, ENDING.bytesOut);
  t.match(await records(), [
    { verdict: 'deny', reason: 'policy-changed', bytes_in: 1_200, duration_ms: 3_600_000 },
  ]);
  const counted = await samples('countersign_connections_total');
  t.strictSame(
    counted.map(({ labels, value }) => `${labels['verdict']} ${labels['reason']} ${value}`).toSorted(),
    ['allow policy-allowed 1', 'deny policy-changed 1'],
  );
  const bytes = await samples('countersign_relayed_bytes_total');
  t.strictSame(
    bytes.map(({ labels, value }) => `${labels['direction']} ${value}`),
    ['in 1200', 'out 34000'],
  );
  const [handshakes] = await samples('countersign_handshake_seconds_count');
  t.equal(handshakes?.value, 1, 'the hour that it was open is no handshake');
});

t.test('flow reporter: a connection without a handshake measures none', async (t) => {
  const { reporter, samples } = reporting(t);
  const facts: FlowFacts = { ...FACTS, peer: 'unproven', handshake: 'none' };
  reporter.counted(facts, { verdict: 'deny', reason: 'unproven-denied' }, 3);
  t.strictSame(await samples('countersign_handshake_seconds_count'), []);
});

t.test('flow reporter: allowed connections are logged at debug, would-be denials at info', async (t) => {
  for (const [level, wanted] of [
    ['info', ['connection would_deny']],
    ['debug', ['connection allow', 'connection would_deny']],
    ['error', []],
  ] as const) {
    const { reporter, logged, records } = reporting(t, level);
    reporter.recorded(FACTS, ALLOWED, ENDING);
    reporter.recorded(FACTS, { ...DENIED, verdict: 'would_deny' }, ENDING);
    t.strictSame(
      logged.map(({ msg }) => msg),
      wanted,
    );
    t.equal((await records()).length, 2, 'the flow log has them all');
  }
});

t.test(
  'flow reporter: a flood of denials is sampled in the log, whole in counter and flow log',
  async (t) => {
    const { reporter, logged, records, samples } = reporting(t);
    for (let index = 0; index < 3_000; index++) {
      reporter.counted(FACTS, DENIED, 1);
      reporter.recorded(FACTS, DENIED, ENDING);
    }
    reporter.recorded(FACTS, { ...DENIED, reason: 'replay' }, ENDING);
    t.equal(logged.filter(({ flow }) => flow.reason === 'policy-denied').length <= 60, true);
    t.equal(
      logged.filter(({ flow }) => flow.reason === 'replay').length,
      1,
      'another reason is not hidden by it',
    );
    t.equal((await records()).length, 3_001);
    t.equal((await samples('countersign_connections_total'))[0]?.value, 3_000);
    t.equal(reporter.recent.list().length, 200);
  },
);
