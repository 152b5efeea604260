import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { rigBinaries } from '../support/kube-control-plane.ts';

const root = join(import.meta.dirname, '../..');
const rig = rigBinaries('helm', 'kubectl');
type Objects = Map<string, unknown>;

function objectsOf(text: string): Objects {
  return new Map(
    parseAllDocuments(text, { version: '1.1' })
      .map((one) => one.toJS() as { kind: string; metadata: { name: string } } | null)
      .filter((one) => one !== null)
      .map((one) => [`${one.kind}/${one.metadata.name}`, one]),
  );
}
const install = (...flags: string[]): Objects =>
  objectsOf(
    execFileSync(process.execPath, [join(root, 'src/main.ts'), 'install', ...flags], { encoding: 'utf8' }),
  );
const helm = (...flags: string[]): Objects =>
  objectsOf(
    execFileSync(join(rig, 'helm'), ['template', 'countersign', join(root, 'manifests/chart'), ...flags], {
      encoding: 'utf8',
    }),
  );
/** Helm makes the namespace itself. */
const withoutNamespace = (objects: Objects): Objects =>
  new Map([...objects].filter(([name]) => !name.startsWith('Namespace/')));
const sorted = (objects: Objects): unknown =>
  Object.fromEntries([...objects].toSorted(([a], [b]) => (a < b ? -1 : 1)));

t.test(
  'packaging: the Helm chart makes the objects of countersign install, by default and with every value',
  (t) => {
    const plain = helm('--namespace', 'countersign-system');
    t.ok(plain.size >= 20);
    t.strictSame(sorted(plain), sorted(withoutNamespace(install('--image-pull-policy', 'IfNotPresent'))));
    const values = {
      'image.name': 'registry.example/countersign',
      'image.tag': '9.9.9',
      'image.pullPolicy': 'Always',
      trustDomain: 'prod.example',
      replicas: '1',
      monitoring: 'true',
      'sidecars.proxyUid': '20000',
      'sidecars.audience': 'other',
      'sidecars.caConfigMap': 'other-ca',
      'sidecars.nodeTraffic': 'none',
      'sidecars.classic': 'true',
      'sidecars.cpuRequest': '20m',
      'sidecars.memoryRequest': '64Mi',
      'sidecars.memoryLimit': '256Mi',
      'sidecars.drain': '7',
      'sidecars.logLevel': 'warn',
    };
    const set = Object.entries(values).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
    const flags =
      '--namespace zone --image registry.example/countersign:9.9.9 --image-pull-policy Always --trust-domain prod.example --replicas 1 --monitoring --proxy-uid 20000 --audience other --ca-configmap other-ca --node-traffic none --classic --cpu-request 20m --memory-request 64Mi --memory-limit 256Mi --drain 7 --sidecar-log-level warn';
    t.strictSame(
      sorted(helm('--namespace', 'zone', ...set)),
      sorted(withoutNamespace(install(...flags.split(' ')))),
    );
    t.end();
  },
);

t.test('packaging: the chart refuses values that the program would refuse', (t) => {
  for (const value of [
    'replicas=0',
    'sidecars.proxyUid=0',
    'sidecars.nodeTraffic=some',
    'image.pullPolicy=Sometimes',
    'nothing=1',
    'image.name=a b',
    'image.tag=a:b',
  ])
    t.throws(() => helm('--set', value), /values don't meet|additional propert|schema/i, value);
  t.end();
});

t.test('packaging: the Kustomize base makes the objects of countersign install', (t) => {
  const text = execFileSync(join(rig, 'kubectl'), ['kustomize', join(root, 'manifests/install')], {
    encoding: 'utf8',
  });
  t.strictSame(sorted(objectsOf(text)), sorted(install()));
  t.end();
});
