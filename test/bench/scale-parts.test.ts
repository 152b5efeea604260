import t from 'tap';
import { demandAt, fit } from '../../bench/scale/extrapolate.ts';
import { podAt, receiversOfPod, receiversOfPolicy, sourceAddress } from '../../bench/scale/population.ts';
import { scaleReport, sizingPage } from '../../bench/scale/report.ts';
import { bytesBetween, bytesSent, countRequests, requestKind } from '../../bench/scale/requests.ts';
import type { ScaleResult, ScaleWindow } from '../../bench/scale/result.ts';
import { latencyOf, Tracker } from '../../bench/scale/tracker.ts';

t.test('scale benchmark: a change counts for each sidecar, when it or a later one is seen, once', (t) => {
  const tracker = new Tracker();
  tracker.changed('policy/a/b', 1, ['one', 'two'], 100);
  tracker.changed('policy/a/b', 2, ['one', 'two'], 200);
  tracker.seen('policy/a/b', 2, 'one', 250);
  tracker.seen('policy/a/b', 1, 'two', 130);
  tracker.seen('policy/a/b', 1, 'two', 999);
  tracker.seen('policy/a/other', 9, 'two', 999);
  t.equal(tracker.missing, 1);
  t.strictSame(tracker.take(), [150, 50, 30]);
  t.strictSame(tracker.take(), []);
  t.end();
});

t.test('scale benchmark: percentiles are values that were measured', (t) => {
  const values = Array.from({ length: 200 }, (_, at) => 200 - at);
  t.strictSame(latencyOf(values), { count: 200, p50: 100, p99: 198, max: 200 });
  t.strictSame(latencyOf([7]), { count: 1, p50: 7, p99: 7, max: 7 });
  t.equal(latencyOf([]), undefined);
  t.end();
});

t.test(
  'scale benchmark: requests are told apart by verb and resource, and what is for one sidecar from what is for all',
  (t) => {
    const kinds = [
      ['create', '/apis/authentication.k8s.io/v1/tokenreviews', 'create tokenreviews'],
      ['get', '/api/v1/namespaces/ns-1/pods/pod-1', 'get pods'],
      ['watch', '/api/v1/pods?watch=true', 'watch pods'],
      ['watch', '/api/v1/namespaces', 'watch namespaces'],
      ['update', '/api/v1/namespaces/system/configmaps/records-1', 'update configmaps'],
      ['get', '/api/v1/namespaces/ns-1', 'get namespaces'],
    ] as const;
    for (const [verb, uri, kind] of kinds) t.equal(requestKind(verb, uri), kind);
    t.match(countRequests(kinds.map(([, , kind]) => kind)), { issuing: 3, shared: 3 });
    const first = bytesSent(
      '0  0  a:1  b:2  \n\t bbr bytes_sent:10 bytes_acked:9\n0 0 a:1 c:3\n\t bytes_sent:5\n',
    );
    const second = bytesSent(
      '0 7 a:1 c:3\n\t bytes_sent:9\n0 0 a:1 d:4\n\t bbr\n0 0 a:1 e:5\n\t bytes_sent:3\n',
    );
    t.strictSame(
      [...first],
      [
        ['a:1 b:2', 10],
        ['a:1 c:3', 5],
      ],
    );
    t.equal(bytesBetween(first, second), 7, 'a connection that ended takes nothing away');
    t.end();
  },
);

t.test(
  'scale benchmark: addresses are each of one pod; a change concerns the connected sidecars alone',
  (t) => {
    const size = { sidecars: 500, pods: 20_000, policies: 300, namespaces: 20 };
    const numbers = Array.from({ length: size.pods }, (_, at) => at);
    t.equal(new Set(numbers.map((at) => podAt(at, size).address)).size, size.pods);
    t.equal(new Set(numbers.slice(0, 10_000).map(sourceAddress)).size, 10_000);
    t.strictSame(receiversOfPolicy(3, 30, size), ['ns-3/pod-3', 'ns-3/pod-23']);
    t.strictSame(receiversOfPod(2, 4, size), ['ns-0/pod-0', 'ns-1/pod-1', 'ns-2/pod-2']);
    t.end();
  },
);

const use = (heap: number) => ({ heap, external: 0, resident: heap, cpu: 0 });
const window = (load: ScaleWindow['load'], rest: Partial<ScaleWindow>): ScaleWindow => ({
  load,
  pods: 2_000,
  sidecars: 500,
  seconds: 10,
  changes: load === 'none' ? 0 : 100,
  latency: load === 'none' ? undefined : { count: 2_500, p50: 40, p99: 90, max: 120 },
  missing: 0,
  requests: { issuing: 0, shared: 0, byKind: {} },
  cpu: 0,
  bytes: 0,
  ...rest,
});
const result: ScaleResult = {
  format: 1,
  date: '2026-02-03T00:00:00Z',
  seconds: 240,
  size: { sidecars: 500, pods: 2_000, policies: 300, namespaces: 20 },
  machine: { cpus: 2, model: 'Example CPU', kernel: '6.1.0', memoryGb: 8 },
  versions: { Kubernetes: 'v1.36.3' },
  loadAverage: 4,
  windows: [
    window('policies', { pods: 100, sidecars: 10, cpu: 0.3, latency: { count: 50, p50: 1, p99: 2, max: 3 } }),
    window('policies', { sidecars: 10, cpu: 0.49, latency: { count: 50, p50: 1, p99: 2, max: 3 } }),
    window('none', { cpu: 0 }),
    window('policies', { cpu: 0.49 + 2.45 }),
  ],
  held: [
    { pods: 100, sidecars: 10, authority: use(20e6), first: use(30e6), firstCount: 10 },
    { pods: 2_000, sidecars: 10, authority: use(20e6 + 1_900 * 2_000), first: use(30e6), firstCount: 10 },
    {
      pods: 2_000,
      sidecars: 500,
      authority: use(20e6 + 1_900 * 2_000 + 490 * 1e5),
      first: use(30e6),
      firstCount: 10,
    },
  ],
};

t.test(
  'scale benchmark: what is extrapolated gives back what was measured, and grows in pods and sidecars',
  (t) => {
    const model = fit(result);
    const near = (found: number, wanted: number, name: string): void =>
      void t.ok(Math.abs(found - wanted) <= 1e-6 * Math.abs(wanted), `${name}: ${found}`);
    near(model.memoryPerPod, 2_000, 'heap per pod');
    near(model.memoryPerSidecar, 1e5, 'heap per sidecar');
    near(model.changePerPod, 1e-6, 'CPU per change and pod');
    near(model.changePerReceiver, 0.001, 'CPU per change and sidecar');
    near(demandAt(model, 2_000, 500).changeCpu, 0.0294, 'CPU per change');
    near(demandAt(model, 20_000, 500).changeCpu, 0.0294 + 0.018, 'CPU per change in a larger cluster');
    near(demandAt(model, 2_000, 5_700).issuingPerSecond, 15, 'requests for identities');
    t.end();
  },
);

t.test('scale benchmark: the page says machine, date, size and figures', (t) => {
  const page = sizingPage(result);
  for (const part of ['Example CPU', '2026-02-03', '300 policies', '90 ms', 'v1.36.3']) t.match(page, part);
  t.notMatch(page, /undefined|NaN/);
  t.match(scaleReport(result), 'Extrapolation');
  t.end();
});
