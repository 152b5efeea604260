import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { parseAllDocuments } from 'yaml';

const program = join(import.meta.dirname, '../../src/main.ts');
const run = (input: string, ...call: string[]): { out: string; err: string; status: number | null } => {
  const { stdout, stderr, status } = spawnSync(process.execPath, [program, ...call], {
    input,
    encoding: 'utf8',
  });
  return { out: stdout, err: stderr, status };
};
const inject = (input: string, ...more: string[]) =>
  run(input, 'inject', '--image', 'registry.example/c:1', '-f', '-', ...more);
const template = (labels: string, spec = '') =>
  `{metadata: {labels: ${labels}}, spec: {containers: [{name: app, image: x}]${spec}}}`;
const ASKS = '{countersign.io/inject: "true"}';

t.test(
  'inject: pods and templates of every workload get the sidecar, other objects stay as they are',
  (t) => {
    const kinds = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'];
    const input = [
      'apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}]}',
      `apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: ${ASKS}}\nspec: {containers: [{name: app, image: x}]}`,
      ...kinds.map(
        (kind) =>
          `apiVersion: apps/v1\nkind: ${kind}\nmetadata: {name: w}\nspec: {template: ${template(ASKS)}}`,
      ),
      `apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: ${template(ASKS)}}}}`,
    ].join('\n---\n');
    const { out, err, status } = inject(input);
    t.equal(status, 0, err);
    const objects = parseAllDocuments(out).map((one) => one.toJS() as Record<string, unknown>);
    t.equal(objects.length, 8);
    t.strictSame(objects[0], {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 's' },
      spec: { ports: [{ port: 80 }] },
    });
    t.equal(out.split('name: countersign-proxy').length - 1, 7, 'one sidecar each');
    for (const kind of ['pod/p', ...kinds.map((kind) => `${kind.toLowerCase()}/w`), 'cronjob/c'])
      t.match(err, `${kind}: injected`);
    const back = run(out, 'uninject', '-f', '-');
    t.notMatch(back.out, /countersign/, 'and nothing of it is left after uninject');
    t.end();
  },
);

t.test('inject: namespaces among the manifests opt in and grant', (t) => {
  const namespace = (annotations: string) =>
    `apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: ${ASKS}, annotations: ${annotations}}`;
  const pod =
    'apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, annotations: {countersign.io/mode: audit}}\nspec: {containers: [{name: app, image: x}]}';
  const refused = inject(`${namespace('{}')}\n---\n${pod}`);
  t.equal(refused.status, 2);
  t.match(refused.err, /pod\/p: countersign\.io\/mode: only where the namespace grants it/);
  t.equal(refused.out, '', 'nothing half done is printed');
  t.match(inject(`${namespace('{countersign.io/grants: audit}')}\n---\n${pod}`).out, /countersign-proxy/);
  t.match(inject(pod).err, /pod\/p: left as it is: neither pod nor namespace/);
  t.end();
});

t.test('inject: what comes out is the same text each time, and goes in again unchanged', (t) => {
  const input = `apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: ${ASKS}}\nspec: {containers: [{name: app, image: x}]}`;
  const { out } = inject(input);
  t.equal(inject(input).out, out);
  t.equal(inject(out).out, out);
  t.end();
});

t.test('inject: a wrong call or input ends with status 2 and a sentence', (t) => {
  t.match(run('', 'inject', '-f', '-'), { status: 2, err: /--image/ });
  t.match(inject(''), { status: 2, err: /no Kubernetes object/ });
  t.match(inject('a: ['), { status: 2, err: /standard input/ });
  t.match(inject('apiVersion: v1\nkind: Pod', '--proxy-uid', '0'), { status: 2, err: /--proxy-uid 0/ });
  t.end();
});
