import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { ALERT_NAMES } from '../../src/install/alert-rules.ts';
import { dashboardExpressions } from '../../src/install/dashboard.ts';
import { countersign } from '../support/installed-cluster.ts';

const ROOT = join(import.meta.dirname, '../..');
const ALERTS = join(ROOT, 'manifests/monitoring/alerts.yaml');

/** Runs Prometheus' own tool. @returns what it says; throws when it complains */
function promtool(...args: string[]): string {
  return execFileSync(join(ROOT, '.setup/promtool'), args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Checks expressions as Prometheus loads them. */
function loads(t: Test, expressions: readonly string[]): void {
  const rules = expressions.map((expr, at) => ({ record: `expression:${at}`, expr }));
  const file = join(t.testdir(), 'expressions.yaml');
  writeFileSync(file, stringify({ groups: [{ name: 'expressions', rules }] }));
  t.match(promtool('check', 'rules', file), new RegExp(`SUCCESS: ${expressions.length} rules found`));
}

t.test('monitoring: promtool loads the alert rules, of the file and of the installation alike', async (t) => {
  t.match(promtool('check', 'rules', ALERTS), new RegExp(`SUCCESS: ${ALERT_NAMES.length} rules found`));
  const manifest = await countersign(['install', '--monitoring']);
  const objects = parseAllDocuments(manifest, { version: '1.1' }).map(
    (one) => one.toJS() as { kind: string; spec: unknown },
  );
  const rule = objects.find(({ kind }) => kind === 'PrometheusRule');
  t.strictSame(rule?.spec, parse(readFileSync(ALERTS, 'utf8')));
});

t.test('monitoring: promtool loads every expression of the dashboard and of docs/observability.md', (t) => {
  const filled = dashboardExpressions().map((expr) =>
    expr
      .replaceAll('$__rate_interval', '5m')
      .replaceAll('$__range', '1h')
      .replaceAll(/"\$\w+"/g, '".*"'),
  );
  loads(t, filled);
  const page = readFileSync(join(ROOT, 'docs/observability.md'), 'utf8');
  const [, section = ''] = /Useful expressions:\n([\s\S]*?)\n(?=\S)/.exec(page) ?? [];
  const lines = section.split('\n').map((line) => line.slice(4));
  const expressions = lines
    .join('\n')
    .split(/^#.*\n/m)
    .map((one) => one.trim());
  loads(
    t,
    expressions.filter((one) => one !== ''),
  );
  t.throws(() => loads(t, ['sum by (']), /parse error/, 'and what is none it refuses');
  t.end();
});

const POD = '{namespace="shop", pod="web-1", container="countersign-proxy"}';
const of = (labels: string): string => POD.replace('}', `, ${labels}}`);
type Series = Readonly<Record<string, string>>;
/** Of each alert: series by which it fires within an hour, and those of everyday life by which it does not. */
const CASES: Readonly<Record<string, { readonly bad: Series; readonly good: Series }>> = {
  CountersignRedirectLost: {
    bad: {
      [`countersign_redirect_in_force${of('family="4"')}`]: '1x60',
      [`countersign_redirect_in_force${of('family="6"')}`]: '0x60',
    },
    good: { [`countersign_redirect_in_force${of('family="4"')}`]: '1x60' },
  },
  CountersignNotReady: {
    bad: { [`countersign_ready${POD}`]: '0x60' },
    good: { [`countersign_ready${POD}`]: '0 0 0 1x57' },
  },
  CountersignIdentityEndsSoon: {
    bad: { [`countersign_identity_expiry_timestamp_seconds${POD}`]: '4000x60' },
    good: { [`countersign_identity_expiry_timestamp_seconds${POD}`]: '14400+60x60' },
  },
  CountersignProofRefused: {
    bad: { [`countersign_connections_total${of('reason="replay"')}`]: '0x50 1x10' },
    good: { [`countersign_connections_total${of('reason="policy-denied"')}`]: '0+9x60' },
  },
  CountersignSecondKey: {
    bad: { [`countersign_authority_second_keys_total${of('cause="unexplained"')}`]: '0x50 1x10' },
    good: { [`countersign_authority_second_keys_total${of('cause="restart"')}`]: '0+1x60' },
  },
  CountersignAuthorityAway: {
    bad: { [`countersign_authority_ready${POD}`]: '0x60' },
    good: { [`countersign_authority_ready${POD}`]: '1x60' },
  },
  CountersignInjectorAway: { bad: {}, good: { [`countersign_injector_ready${POD}`]: '1x60' } },
  CountersignPodsWithoutSidecar: {
    bad: { [`countersign_injector_uninjected_pods${POD}`]: '2x60' },
    good: { [`countersign_injector_uninjected_pods${POD}`]: '2x9 0x51' },
  },
  CountersignCrowded: {
    bad: { [`countersign_connections_total${of('reason="overloaded"')}`]: '0+1x60' },
    good: { [`countersign_connections_total${of('reason="overloaded"')}`]: '7x60' },
  },
  CountersignConnectionLimit: {
    bad: { [`countersign_connections_beyond_limit_total${of('limit="source"')}`]: '0+1x60' },
    good: { [`countersign_connections_beyond_limit_total${of('limit="source"')}`]: '7x60' },
  },
  CountersignPolicyCut: {
    bad: { [`countersign_connections_total${of('verdict="deny", reason="policy-changed"')}`]: '0+20x60' },
    good: {
      [`countersign_connections_total${of('verdict="would_deny", reason="policy-changed"')}`]: '0+20x60',
    },
  },
  CountersignSourceProblem: {
    bad: { [`countersign_source_problems${POD}`]: '1x60' },
    good: { [`countersign_source_problems${POD}`]: '0x60' },
  },
  CountersignFlowRecordsLost: {
    bad: { [`countersign_flow_records_dropped_total${POD}`]: '0+1x60' },
    good: { [`countersign_flow_records_dropped_total${POD}`]: '0x60' },
  },
  CountersignBusy: {
    bad: { [`nodejs_eventloop_busy_seconds_total${POD}`]: '0+57x60' },
    good: { [`nodejs_eventloop_busy_seconds_total${POD}`]: '0+20x60' },
  },
  CountersignDescriptors: {
    bad: { [`process_open_fds${POD}`]: '900x60', [`process_max_fds${POD}`]: '1000x60' },
    good: {
      [`process_open_fds${POD}`]: '100x60',
      [`process_max_fds${POD}`]: '1000x60',
      'process_open_fds{namespace="shop", pod="web-1", container="app"}': '900x60',
      'process_max_fds{namespace="shop", pod="web-1", container="app"}': '1000x60',
    },
  },
};

t.test('monitoring: by promtool each alert fires for what it is about, and not in everyday life', (t) => {
  t.strictSame(Object.keys(CASES).toSorted(), [...ALERT_NAMES].toSorted());
  const test = (series: Series, alert: string, fires: boolean): object => ({
    interval: '1m',
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    promql_expr_test: [
      {
        expr: `count(ALERTS{alertname="${alert}", alertstate="firing"})`,
        eval_time: '55m',
        exp_samples: fires ? [{ labels: '{}', value: 1 }] : [],
      },
    ],
  });
  const tests = Object.entries(CASES).flatMap(([alert, { bad, good }]) => [
    test(bad, alert, true),
    test(good, alert, false),
  ]);
  const file = join(t.testdir(), 'tests.yaml');
  writeFileSync(file, stringify({ rule_files: [ALERTS], evaluation_interval: '1m', tests }));
  t.match(promtool('test', 'rules', file), /SUCCESS/);
  t.end();
});
