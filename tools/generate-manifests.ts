/**
 * Writes the objects of `countersign install` in the two other forms that people deploy from, so that they are the same by construction:
 *
 *   manifests/install/  a Kustomize base
 *   manifests/chart/    a Helm chart: its templates are the objects with expressions where flags go
 *   manifests/monitoring/  the Grafana dashboard, and the alert rules as a file of Prometheus
 *
 * `--check` compares instead and exits 1 when something is stale; it is part of `npm run check`.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { DEFAULT_SETTINGS } from '../src/inject/settings.ts';
import { alertRules } from '../src/install/alert-rules.ts';
import { dashboard } from '../src/install/dashboard.ts';
import { installObjects } from '../src/install/install.ts';
import type { InstallObject, InstallOptions } from '../src/install/options.ts';
import { programVersion } from '../src/version.ts';

const root = join(import.meta.dirname, '..');
const version = programVersion();
const NOTE = '# Written by tools/generate-manifests.ts; do not change it by hand.\n';

const options: InstallOptions = {
  namespace: 'countersign-system',
  trustDomain: 'cluster.local',
  replicas: 2,
  monitoring: false,
  sidecars: {
    ...DEFAULT_SETTINGS,
    image: `countersign:${version}`,
    authority: 'https://countersign-authority.countersign-system.svc:14443',
  },
};

/** Flag by flag: a value that stands nowhere else in the objects, and the expression that takes its place. */
const EXPRESSIONS: readonly (readonly [value: string, expression: string])[] = [
  ['zz-namespace', '{{ .Release.Namespace }}'],
  ['zz-trust-domain', '{{ .Values.trustDomain }}'],
  ['zz-image-name', '{{ .Values.image.name }}'],
  [':zz-image-tag', ':{{ .Values.image.tag | default .Chart.AppVersion }}'],
  ['zz-ca', '{{ .Values.sidecars.caConfigMap }}'],
  ['zz-audience', '{{ .Values.sidecars.audience }}'],
  ['14015', '{{ .Values.sidecars.proxyUid }}'],
  ['1234m', '{{ .Values.sidecars.cpuRequest }}'],
  ['123Mi', '{{ .Values.sidecars.memoryRequest }}'],
  ['1234Mi', '{{ .Values.sidecars.memoryLimit }}'],
  ['--drain=3599', '--drain={{ .Values.sidecars.drain }}'],
  ['--node-traffic=none', '--node-traffic={{ .Values.sidecars.nodeTraffic }}'],
  ['--sidecar-log-level=debug', '--sidecar-log-level={{ .Values.sidecars.logLevel }}'],
  ['--image-pull-policy=Never', '--image-pull-policy={{ .Values.image.pullPolicy }}'],
  ['imagePullPolicy: Never', 'imagePullPolicy: {{ .Values.image.pullPolicy }}'],
  ['replicas: 9', 'replicas: {{ .Values.replicas }}'],
];

const marked: InstallOptions = {
  namespace: 'zz-namespace',
  trustDomain: 'zz-trust-domain',
  replicas: 9,
  monitoring: true,
  runbookUrl: 'https://zz-runbook',
  sidecars: {
    image: 'zz-image-name:zz-image-tag',
    imagePullPolicy: 'Never',
    proxyUid: 14_015,
    authority: 'https://countersign-authority.zz-namespace.svc:14443',
    audience: 'zz-audience',
    caConfigMap: 'zz-ca',
    nodeTraffic: 'none',
    classic: true,
    cpuRequest: '1234m',
    memoryRequest: '123Mi',
    memoryLimit: '1234Mi',
    drainSeconds: 3_599,
    logLevel: 'debug',
  },
};

/** The chart's values, with what `countersign install` has by default. */
const VALUES = `# Helm values of Countersign. They mean what the flags of «countersign install --help» mean.
image:
  name: countersign
  # By default the chart's appVersion.
  tag: ""
  pullPolicy: IfNotPresent
trustDomain: ${options.trustDomain}
# Of authority and of injector.
replicas: ${options.replicas}
# PodMonitors and alerting rules: only where the Prometheus operator is.
monitoring: false
# Where docs/runbook.md can be read, https://HOST/PATH: alerts link to its sections.
runbookUrl: ""
sidecars:
  proxyUid: ${DEFAULT_SETTINGS.proxyUid}
  audience: ${DEFAULT_SETTINGS.audience}
  caConfigMap: ${DEFAULT_SETTINGS.caConfigMap}
  # probes, all or none
  nodeTraffic: ${DEFAULT_SETTINGS.nodeTraffic}
  classic: ${DEFAULT_SETTINGS.classic}
  cpuRequest: ${DEFAULT_SETTINGS.cpuRequest}
  memoryRequest: ${DEFAULT_SETTINGS.memoryRequest}
  memoryLimit: ${DEFAULT_SETTINGS.memoryLimit}
  # Seconds.
  drain: ${DEFAULT_SETTINGS.drainSeconds}
  logLevel: ${DEFAULT_SETTINGS.logLevel}
`;

const text = { type: 'string', minLength: 1 };
const SCHEMA = {
  $schema: 'https://json-schema.org/draft-07/schema#',
  type: 'object',
  additionalProperties: false,
  properties: {
    global: { type: 'object' },
    image: {
      type: 'object',
      additionalProperties: false,
      properties: {
        name: { type: 'string', pattern: '^[a-z0-9][A-Za-z0-9._/:-]*$' },
        tag: { type: 'string', pattern: '^[A-Za-z0-9_.-]{0,128}(@sha256:[0-9a-f]{64})?$' },
        pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] },
      },
    },
    trustDomain: { type: 'string', pattern: '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$' },
    replicas: { type: 'integer', minimum: 1, maximum: 9 },
    monitoring: { type: 'boolean' },
    runbookUrl: { type: 'string', pattern: '^(https?://[^\\s#"\'{}]{1,1000})?$' },
    sidecars: {
      type: 'object',
      additionalProperties: false,
      properties: {
        proxyUid: { type: 'integer', minimum: 1000, maximum: 2147483647 },
        audience: text,
        caConfigMap: text,
        nodeTraffic: { enum: ['probes', 'all', 'none'] },
        classic: { type: 'boolean' },
        cpuRequest: { type: 'string', pattern: '^[1-9][0-9]{0,5}m?$' },
        memoryRequest: { type: 'string', pattern: '^[0-9]+(k|M|G|Ki|Mi|Gi)?$' },
        memoryLimit: { type: 'string', pattern: '^[0-9]+(k|M|G|Ki|Mi|Gi)?$' },
        drain: { type: 'integer', minimum: 0, maximum: 3600 },
        logLevel: { enum: ['debug', 'info', 'warn', 'error'] },
      },
    },
  },
};

const files: Record<string, string> = {
  'manifests/install/countersign.yaml': NOTE + yamlOf(installObjects(options)),
  'manifests/install/kustomization.yaml': `${NOTE}# Another image or namespace stands in arguments too, where «images:» and «namespace:» of an overlay do not reach: countersign install --image ... --namespace ...
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - countersign.yaml
`,
  'manifests/monitoring/alerts.yaml':
    NOTE + stringify({ groups: [{ name: 'countersign', rules: alertRules() }] }, { lineWidth: 0 }),
  'manifests/monitoring/dashboard.json': `${JSON.stringify(dashboard(), null, 2)}\n`,
  'manifests/chart/Chart.yaml': `${NOTE}apiVersion: v2
name: countersign
description: Proven label identity on every TCP connection between pods, enforced with plain NetworkPolicy.
type: application
version: ${version}
appVersion: ${version}
kubeVersion: ">=1.29.0-0"
`,
  'manifests/chart/values.yaml': VALUES,
  'manifests/chart/values.schema.json': `${JSON.stringify(SCHEMA, null, 2)}\n`,
  ...templates(installObjects(marked)),
};

let stale = false;
for (const [name, wanted] of Object.entries(files)) {
  const file = join(root, name);
  if (process.argv.includes('--check')) {
    if (read(file) === wanted) continue;
    stale = true;
    process.stderr.write(`${name} is stale: run 'npm run docs'\n`);
  } else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, wanted);
  }
}
process.exitCode = stale ? 1 : 0;

function templates(objects: readonly InstallObject[]): Record<string, string> {
  const kinds = new Map<string, InstallObject[]>();
  // Helm makes the namespace itself, with --create-namespace.
  for (const one of objects.filter(({ kind }) => kind !== 'Namespace')) {
    const file = one.apiVersion.startsWith('monitoring.') ? 'monitoring' : fileOf(one);
    kinds.set(file, [...(kinds.get(file) ?? []), one]);
  }
  return Object.fromEntries(
    [...kinds].map(([file, found]) => {
      // Prometheus writes its labels like Helm its expressions.
      let body = yamlOf(found).replaceAll(/\{\{ (\$labels\.\w+) \}\}/g, '{{ "{{" }} $1 {{ "}}" }}');
      for (const [value, expression] of EXPRESSIONS) body = body.replaceAll(value, expression);
      body = body.replace(
        /^( *)- --classic\n/m,
        '$1{{- if .Values.sidecars.classic }}\n$1- --classic\n$1{{- end }}\n',
      );
      body = body.replace(
        /^( *)runbook_url: https:\/\/zz-runbook(#\w+)\n/gm,
        '$1{{- with .Values.runbookUrl }}\n$1runbook_url: {{ printf "%s$2" . | quote }}\n$1{{- else }}\n$1runbook: docs/runbook.md$2\n$1{{- end }}\n',
      );
      body = body.replace(
        /^( *)minAvailable: 1\n/gm,
        '$1{{- if gt (int .Values.replicas) 1 }}\n$1minAvailable: 1\n$1{{- else }}\n$1maxUnavailable: 1\n$1{{- end }}\n',
      );
      const whole = file === 'monitoring' ? `{{- if .Values.monitoring }}\n${body}{{- end }}\n` : body;
      return [`manifests/chart/templates/${file}.yaml`, NOTE + whole];
    }),
  );
}

function fileOf({ kind, metadata }: InstallObject): string {
  if (kind.endsWith('WebhookConfiguration')) return 'webhooks';
  if (kind === 'NetworkPolicy') return 'network-policies';
  return /Role|ServiceAccount/.test(kind) ? 'access' : metadata.name.replace('countersign-', '');
}

function yamlOf(objects: readonly InstallObject[]): string {
  return objects
    .map((object) => stringify(object, { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false }))
    .join('---\n');
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
