import t from 'tap';
import { parseAllDocuments, stringify } from 'yaml';
import { injectPod } from '../../src/inject/inject-pod.ts';
import type { Pod } from '../../src/inject/pod.ts';
import { ALERT_NAMES, alertRules } from '../../src/install/alert-rules.ts';
import { imageName } from '../../src/install/control-plane.ts';
import { installObjects } from '../../src/install/install.ts';
import type { InstallObject, InstallOptions } from '../../src/install/options.ts';
import { AUTHORITY_METRICS } from '../../src/authority/metric-list.ts';
import { INJECTOR_METRICS } from '../../src/injector/metric-list.ts';
import { METRICS } from '../../src/observe/metric-list.ts';
import { buildProgram } from '../../src/program.ts';
import { namespace, SETTINGS } from '../inject/samples.ts';

const OPTIONS: InstallOptions = {
  namespace: 'countersign-system',
  trustDomain: 'cluster.local',
  replicas: 2,
  monitoring: true,
  sidecars: SETTINGS,
};
const objects = (change: Partial<InstallOptions> = {}): InstallObject[] =>
  installObjects({ ...OPTIONS, ...change });
const named = (kind: string, name: string): InstallObject =>
  objects().find((one) => one.kind === kind && one.metadata.name === name)!;
const podSpecs = (): { name: string; spec: NonNullable<Pod['spec']> }[] =>
  objects()
    .filter(({ kind }) => kind === 'Deployment')
    .map(({ metadata, spec }) => ({
      name: metadata.name,
      spec: (spec as { template: { spec: NonNullable<Pod['spec']> } }).template.spec,
    }));

t.test('install: the same flags give the same text, and it holds no secret and no certificate', (t) => {
  const text = stringify(objects());
  t.equal(stringify(objects()), text);
  t.notOk(objects().some(({ kind }) => kind === 'Secret'));
  t.notMatch(text, /caBundle|BEGIN|PRIVATE/);
  const names = objects().map(({ kind, metadata }) => `${kind}/${metadata.namespace ?? ''}/${metadata.name}`);
  t.equal(new Set(names).size, names.length, 'no object twice');
  t.equal(names[0], 'Namespace//countersign-system', 'what others live in comes first');
  t.end();
});

t.test('install: every flag that a Deployment passes is one that its command knows', (t) => {
  const known = new Map(
    buildProgram().commands.map((one) => [one.name(), one.options.map(({ long }) => long)]),
  );
  for (const { name, spec } of podSpecs()) {
    const [command = '', ...flags] = spec.containers[0]!.args!;
    t.ok(known.has(command), `${name} runs ${command}`);
    for (const flag of flags)
      t.ok(known.get(command)?.includes(flag.split('=', 1)[0]!), `${command} ${flag}`);
  }
  const pod = injectPod(
    {
      metadata: {
        labels: { 'countersign.io/inject': 'true' },
        annotations: {
          'countersign.io/exclude-inbound-ports': '1',
          'countersign.io/exclude-outbound-ports': '1',
          'countersign.io/exclude-outbound-cidrs': '10.0.0.0/8',
        },
      },
      spec: { containers: [{ name: 'app', readinessProbe: { tcpSocket: { port: 80 } } }] },
    },
    namespace({ annotations: { 'countersign.io/grants': 'exclusions' } }),
    SETTINGS,
    '1',
  );
  if (pod.outcome !== 'injected') throw new Error(JSON.stringify(pod));
  const [init, proxy] = pod.pod.spec!.initContainers!;
  const redirect = buildProgram().commands.find((one) => one.name() === 'redirect')!;
  const apply = redirect.commands.find((one) => one.name() === 'apply')!.options.map(({ long }) => long);
  for (const flag of init!.args!.slice(2))
    t.ok(apply.includes(flag.split('=', 1)[0]!), `redirect apply ${flag}`);
  for (const flag of proxy!.args!.slice(1))
    t.ok(known.get('proxy')?.includes(flag.split('=', 1)[0]!), `proxy ${flag}`);
  t.end();
});

t.test('install: the control plane runs restricted, spread, and is not injected itself', (t) => {
  for (const { name, spec } of podSpecs()) {
    const [container] = spec.containers;
    t.match(spec.securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }, name);
    t.match(container!.securityContext, {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
    });
    t.ok(spec.affinity?.podAntiAffinity);
    const { template } = named('Deployment', name)['spec'] as {
      template: { metadata: { labels: Record<string, string> } };
    };
    t.equal(template.metadata.labels['countersign.io/inject'], 'false');
    t.ok(named('PodDisruptionBudget', name));
  }
  t.strictSame(
    objects({ replicas: 1 }).find(({ kind }) => kind === 'PodDisruptionBudget')!['spec'],
    {
      selector: {
        matchLabels: {
          'app.kubernetes.io/name': 'countersign-authority',
          'app.kubernetes.io/part-of': 'countersign',
        },
      },
      maxUnavailable: 1,
    },
    'a single replica can be moved',
  );
  t.end();
});

t.test('install: nobody may read a Secret but the own ones by name, and no right has a star', (t) => {
  type Rules = {
    rules: { resources: string[]; verbs: string[]; apiGroups: string[]; resourceNames?: string[] }[];
  };
  const roles = objects().filter(
    ({ kind }) => kind === 'ClusterRole' || kind === 'Role',
  ) as unknown as (Rules & InstallObject)[];
  t.equal(roles.length, 4);
  for (const { kind, rules } of roles) {
    for (const rule of rules) {
      t.notOk([...rule.apiGroups, ...rule.resources, ...rule.verbs].includes('*'));
      if (!rule.resources.includes('secrets')) continue;
      t.equal(kind, 'Role', 'Secrets of the own namespace alone');
      if (rule.verbs.some((verb) => verb !== 'create')) t.ok(rule.resourceNames?.length, 'by name');
    }
    t.notOk(
      rules.some(({ resources }) =>
        resources.some((one) => /clusterrole|rolebinding|serviceaccounts|pods\/exec/.test(one)),
      ),
    );
  }
  t.end();
});

t.test('install: only pods that ask, or live where one is asked for, reach the webhooks', (t) => {
  const { webhooks } = named('MutatingWebhookConfiguration', 'countersign') as unknown as {
    webhooks: {
      failurePolicy: string;
      namespaceSelector: object;
      objectSelector: object;
      reinvocationPolicy: string;
    }[];
  };
  t.equal(webhooks.length, 2);
  for (const webhook of webhooks) {
    t.match(webhook, { failurePolicy: 'Fail', reinvocationPolicy: 'IfNeeded', timeoutSeconds: 5 });
    t.match(
      JSON.stringify(webhook.namespaceSelector),
      /"NotIn","values":\["kube-system","kube-public","kube-node-lease","countersign-system"\]/,
    );
    t.match(
      JSON.stringify([webhook.namespaceSelector, webhook.objectSelector]),
      /countersign\.io\/inject","operator":"Exists"/,
    );
  }
  t.end();
});

t.test('install: a label that is taken off keeps no debug container from being looked at', (t) => {
  const { webhooks } = named('ValidatingWebhookConfiguration', 'countersign') as unknown as {
    webhooks: { name: string; objectSelector?: object; matchConditions?: { expression: string }[] }[];
  };
  const names = webhooks.find(({ name }) => name.startsWith('names'));
  t.strictSame(names?.objectSelector, {
    matchExpressions: [{ key: 'countersign.io/inject', operator: 'NotIn', values: ['true'] }],
  });
  t.match(
    names?.matchConditions?.[0]?.expression,
    /countersign-proxy/,
    'of other pods only these are looked at',
  );
  const ephemeral = webhooks.find(({ name }) => name.startsWith('ephemeral'));
  t.equal(ephemeral?.objectSelector, undefined);
  t.match(
    ephemeral?.matchConditions?.[0]?.expression,
    /initContainers.*'countersign-proxy'.* \|\| .*containers/,
  );
  const image = webhooks.find(({ name }) => name.startsWith('image'));
  t.equal(image?.objectSelector, undefined);
  t.end();
});

t.test('install: wrong flags are refused, with flag and remedy', (t) => {
  const rows: [Partial<InstallOptions>, RegExp][] = [
    [{ namespace: 'A_b' }, /--namespace A_b/],
    [{ trustDomain: 'x y' }, /--trust-domain/],
    [{ replicas: 0 }, /--replicas 0/],
    [{ runbookUrl: 'docs/runbook.md' }, /--runbook-url docs\/runbook.md: write https/],
    [{ runbookUrl: 'https://wiki.test/a#b' }, /--runbook-url/],
    [{ runbookUrl: 'javascript:alert(1)' }, /--runbook-url/],
    [{ replicas: Number.NaN }, /--replicas/],
    [{ sidecars: { ...SETTINGS, proxyUid: 0 } }, /--proxy-uid 0/],
  ];
  for (const [change, problem] of rows) t.throws(() => objects(change), { message: problem, exitCode: 2 });
  t.equal(imageName('registry.example:5000/a/b:1.0'), 'registry.example:5000/a/b');
  t.equal(imageName('a/b@sha256:0'), 'a/b');
  t.equal(imageName('registry.example:5000/a/b'), 'registry.example:5000/a/b');
  t.end();
});

t.test('install: every alert asks for metrics and reasons that exist', (t) => {
  const metrics = new Set([
    ...Object.keys(METRICS),
    ...Object.keys(AUTHORITY_METRICS),
    ...Object.keys(INJECTOR_METRICS),
  ]);
  for (const rule of alertRules() as { alert: string; expr: string }[]) {
    const used = rule.expr.match(/\b(?:countersign|process|nodejs)_[a-z_]+/g) ?? [];
    t.ok(used.length > 0 && used.every((name) => metrics.has(name)), `${rule.alert}: ${used.join(', ')}`);
    for (const [, text = ''] of rule.expr.matchAll(/reason=~?"([^"]+)"/g))
      for (const part of text.split('|'))
        t.ok(
          METRICS.countersign_connections_total.labels.reason.some((reason) =>
            new RegExp(`^(?:${part})$`).test(reason),
          ),
          `${rule.alert}: reason ${part}`,
        );
  }
  t.equal(new Set(ALERT_NAMES).size, ALERT_NAMES.length);
  t.end();
});

t.test('install: the text is YAML that reads back as the same objects', (t) => {
  const text = objects()
    .map((one) => stringify(one, { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false }))
    .join('---\n');
  t.strictSame(
    parseAllDocuments(text, { version: '1.1' }).map((one) => one.toJS() as unknown),
    objects(),
  );
  t.end();
});
