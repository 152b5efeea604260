import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type MetricDescription, METRICS, UNKNOWN_LABEL } from '../../src/observe/metric-list.ts';
import { Metrics } from '../../src/observe/metrics.ts';
import { timedEvaluate } from '../../src/observe/timed-evaluate.ts';
import { ALL_REASONS, type Reason } from '../../src/observe/reasons.ts';
import { parseExposition, type Sample } from './exposition.ts';
import { READINGS } from './facts.ts';

const scrape = async (metrics: Metrics): Promise<Sample[]> => parseExposition((await metrics.text()).body);
const value = (samples: readonly Sample[], name: string, labels: Record<string, string> = {}) =>
  samples.find(
    (one) => one.name === name && Object.entries(labels).every(([key, text]) => one.labels[key] === text),
  )?.value;

t.test('metrics: every metric of the list is exposed, with its type, and no other', async (t) => {
  const { body, contentType } = await new Metrics('1.2.3', () => READINGS).text();
  t.match(contentType, /^text\/plain; version=0\.0\.4/);
  const exposed = [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  const listed = Object.entries(METRICS).map(([name, { type }]) => `${name} ${type}`);
  t.strictSame(exposed.toSorted(), listed.toSorted());
});

t.test('metrics: gauges tell what is true at the scrape', async (t) => {
  let readings = READINGS;
  const metrics = new Metrics('1.2.3', () => readings);
  const samples = await scrape(metrics);
  t.equal(value(samples, 'countersign_open_connections', { direction: 'inbound' }), 3);
  t.equal(value(samples, 'countersign_open_connections', { direction: 'outbound' }), 4);
  t.equal(value(samples, 'countersign_half_open_connections'), 5);
  t.equal(value(samples, 'countersign_connection_limit'), 1_000);
  for (const [index, limit] of ['all', 'source'].entries())
    for (const [at, direction] of ['inbound', 'outbound'].entries())
      t.equal(
        value(samples, 'countersign_connections_beyond_limit_total', { direction, limit }),
        2 * index + at + 1,
      );
  t.equal(value(samples, 'countersign_pipes_refused_total'), 6);
  t.equal(value(samples, 'countersign_identity_expiry_timestamp_seconds'), 1_800_000_000);
  t.ok(Math.abs(value(samples, 'countersign_policy_age_seconds')! - 60) < 5);
  t.ok(Math.abs(value(samples, 'countersign_source_age_seconds')! - 30) < 5);
  t.equal(value(samples, 'countersign_policy_version'), 7);
  t.equal(value(samples, 'countersign_source_problems'), 2);
  t.equal(value(samples, 'countersign_audit_mode'), 1);
  t.equal(value(samples, 'countersign_ready'), 0);
  t.equal(value(samples, 'countersign_redirect_in_force', { family: 'ipv4', direction: 'inbound' }), 1);
  t.equal(value(samples, 'countersign_redirect_in_force', { family: 'ipv6', direction: 'outbound' }), 0);
  t.equal(value(samples, 'countersign_build_info', { version: '1.2.3', node: process.version }), 1);

  readings = { ...READINGS, identityExpiresAt: undefined, snapshotTakenAt: undefined, openInbound: 0 };
  const later = await scrape(metrics);
  t.equal(value(later, 'countersign_identity_expiry_timestamp_seconds'), 0);
  t.ok(Number.isNaN(value(later, 'countersign_policy_age_seconds')));
  t.equal(value(later, 'countersign_open_connections', { direction: 'inbound' }), 0);
});

t.test('metrics: the process tells its memory, descriptors and time', async (t) => {
  const metrics = new Metrics('1.2.3', () => READINGS);
  await sleep(1); // the event loop counts from its first turn
  const before = await scrape(metrics);
  const until = performance.now() + 50;
  while (performance.now() < until);
  await sleep(1);
  const after = await scrape(metrics);
  t.ok(value(after, 'process_resident_memory_bytes')! > 10e6);
  t.ok(value(after, 'process_open_fds')! > 2);
  t.ok(value(after, 'process_max_fds')! >= value(after, 'process_open_fds')!);
  t.ok(Math.abs(value(after, 'process_start_time_seconds')! - Date.now() / 1000) < 300);
  for (const name of ['process_cpu_seconds_total', 'nodejs_eventloop_busy_seconds_total']) {
    t.ok(value(after, name)! - value(before, name)! > 0.02, `${name} has grown by the work done`);
  }
});

t.test('metrics: counters add up per combination of labels', async (t) => {
  const metrics = new Metrics('1.2.3', () => READINGS);
  const labels = {
    direction: 'inbound',
    verdict: 'deny',
    reason: 'policy-denied',
    peer: 'proven',
    handshake: 'full',
  } as const;
  metrics.counted(labels);
  metrics.counted(labels);
  metrics.counted({ ...labels, verdict: 'would_deny' });
  metrics.relayed(10, 0);
  metrics.relayed(5, 7);
  metrics.droppedRecords(3);
  metrics.handshaken('inbound', 'full', 0.0007);
  metrics.handshaken('inbound', 'full', 0.003);
  const samples = await scrape(metrics);
  t.equal(value(samples, 'countersign_connections_total', labels), 2);
  t.equal(value(samples, 'countersign_connections_total', { verdict: 'would_deny' }), 1);
  t.equal(value(samples, 'countersign_relayed_bytes_total', { direction: 'in' }), 15);
  t.equal(value(samples, 'countersign_relayed_bytes_total', { direction: 'out' }), 7);
  t.equal(value(samples, 'countersign_flow_records_dropped_total'), 3);
  t.equal(value(samples, 'countersign_handshake_seconds_count', { handshake: 'full' }), 2);
  t.equal(value(samples, 'countersign_handshake_seconds_bucket', { le: '0.001' }), 1);
});

t.test('metrics: what is told when readings are asked for is in the same scrape', async (t) => {
  const labels = {
    direction: 'inbound',
    verdict: 'allow',
    reason: 'policy-allowed',
    peer: 'proven',
    handshake: 'resumed',
  } as const;
  const metrics: Metrics = new Metrics('1.2.3', () => {
    metrics.counted(labels);
    metrics.handshaken('inbound', 'resumed', 0.001);
    metrics.fastOpened('no-cookie');
    metrics.relayed(1, 1);
    return READINGS;
  });
  const samples = await scrape(metrics);
  t.equal(value(samples, 'countersign_connections_total', labels), 1);
  t.equal(value(samples, 'countersign_handshake_seconds_count'), 1);
  t.equal(value(samples, 'countersign_fast_open_dials_total', { outcome: 'no-cookie' }), 1);
  t.equal(value(samples, 'countersign_relayed_bytes_total', { direction: 'in' }), 1);
});

t.test('metrics: texts that a peer could choose make no series, however many there are', async (t) => {
  const metrics = new Metrics('1.2.3', () => READINGS);
  for (let attempt = 0; attempt < 10_000; attempt++) {
    const text = `evil-${attempt}"} 1\ncountersign_ready 1` as Reason;
    metrics.counted({
      direction: text as 'inbound',
      verdict: text as 'deny',
      reason: text,
      peer: text as 'proven',
      handshake: text as 'full',
    });
    metrics.handshaken(text as 'inbound', text as 'full', 0.001);
  }
  const samples = await scrape(metrics);
  const counted = samples.filter(({ name }) => name === 'countersign_connections_total');
  t.equal(counted.length, 1);
  t.equal(counted[0]?.value, 10_000);
  t.strictSame([...new Set(Object.values(counted[0]!.labels))], [UNKNOWN_LABEL]);
  t.equal(value(samples, 'countersign_ready'), 0);
});

t.test('metrics: with every combination counted, all labels are of the documented sets', async (t) => {
  const metrics = new Metrics('1.2.3', () => READINGS);
  for (const direction of ['inbound', 'outbound'] as const)
    for (const verdict of ['allow', 'deny', 'would_deny'] as const)
      for (const reason of ALL_REASONS)
        for (const peer of ['proven', 'unproven', 'external', 'node'] as const)
          for (const handshake of ['full', 'resumed', 'none'] as const)
            metrics.counted({ direction, verdict, reason, peer, handshake });
  const samples = await scrape(metrics);
  const lists: Record<string, MetricDescription> = METRICS;
  for (const { name, labels } of samples) {
    const listed = lists[name]?.labels ?? lists[name.replace(/_(bucket|sum|count)$/, '')]?.labels ?? {};
    for (const [label, text] of Object.entries(labels)) {
      const values = listed[label];
      if (label === 'le' || typeof values === 'string') continue;
      if (values?.includes(text) !== true) t.fail(`${name}{${label}="${text}"}`);
    }
  }
  t.equal(
    samples.filter(({ name }) => name === 'countersign_connections_total').length,
    2 * 3 * ALL_REASONS.length * 4 * 3,
  );
});

t.test('metrics: evaluations are measured from a microsecond on, with the decision unchanged', async (t) => {
  const metrics = new Metrics('1', () => READINGS);
  const decision = { allow: true, isolated: false } as const;
  const timed = timedEvaluate({ evaluate: () => decision }, (direction, seconds) =>
    metrics.decided(direction, seconds),
  );
  const peer = { kind: 'address', address: '10.0.0.1' } as const;
  t.equal(timed.evaluate({ direction: 'outbound', peer, protocol: 'TCP', port: 80 }), decision);
  metrics.decided('inbound', 0.000_003);
  const samples = await scrape(metrics);
  t.equal(value(samples, 'countersign_decision_seconds_count', { direction: 'outbound' }), 1);
  t.ok(value(samples, 'countersign_decision_seconds_sum', { direction: 'outbound' })! > 0);
  const at = (le: string) =>
    value(samples, 'countersign_decision_seconds_bucket', { direction: 'inbound', le });
  t.strictSame([at('0.000002'), at('0.000005')], [0, 1]);
});

t.test('metrics: two sidecars in one process share nothing', async (t) => {
  const [one, other] = [new Metrics('1', () => READINGS), new Metrics('2', () => READINGS)];
  one.droppedRecords(5);
  t.equal(value(await scrape(other), 'countersign_flow_records_dropped_total'), 0);
});

t.test('metrics: scrapes at the same moment cost one', async (t) => {
  let asked = 0;
  const metrics = new Metrics('1', () => {
    asked++;
    return READINGS;
  });
  const answers = await Promise.all(Array.from({ length: 50 }, () => metrics.text()));
  t.equal(asked, 1);
  t.ok(answers.every(({ body }) => body === answers[0]!.body));
  await metrics.text();
  t.equal(asked, 2);
});
