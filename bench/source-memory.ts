/**
 * What the Kubernetes source costs a sidecar in memory: `node --expose-gc bench/source-memory.ts PODS` prints resident memory, used heap and the CPU time to
 * the first snapshot, of a process that has that source and nothing else. The API server is the fake one, in a process of its own, with 200 Services of ten endpoints, 50
 * Nodes and 300 policies besides the pods.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fixedToken } from '../src/kube/credential.ts';
import { KubernetesSource } from '../src/sources/kubernetes-source.ts';
import { FakeApiServer } from '../test/support/fake-api-server.ts';
import type { FakeObject } from '../test/support/fake-store.ts';
import { ADMIN_TOKEN } from '../test/support/fake-tokens.ts';

const [pods = '2000', role] = process.argv.slice(2);
if (role === 'server') await serve(Number(pods));
else await measure();

async function measure(): Promise<void> {
  const server = spawn(process.execPath, [import.meta.filename, pods, 'server'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [url] = (await once(server.stdout, 'data')) as [Buffer];
  const before = process.cpuUsage();
  const source = new KubernetesSource({
    server: { url: url.toString().trim(), credential: fixedToken(ADMIN_TOKEN) },
    pod: 'shop/app-0',
    mode: 'enforce',
  });
  await source.start();
  const { user, system } = process.cpuUsage(before);
  await sleep(1_500);
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  process.stdout.write(
    `${pods} pods: resident ${megabytes(rss)}, heap ${megabytes(heapUsed)}, first snapshot ${Math.round((user + system) / 1000)} ms of CPU\n`,
  );
  await source.close();
  server.kill();
}

async function serve(count: number): Promise<void> {
  const server = await new FakeApiServer({ bookmarkMs: 5_000 }).start();
  const put = (apiVersion: string, kind: string, metadata: FakeObject['metadata'], rest: object): void =>
    void server.put({ apiVersion, kind, metadata, ...rest });
  const address = (index: number): string => `10.244.${index >> 8}.${index & 255}`;
  put('v1', 'Namespace', { name: 'shop' }, {});
  for (let index = 0; index < count; index++) {
    const labels = {
      app: `app-${index % 100}`,
      tier: 'back',
      version: 'v1',
      'pod-template-hash': '7c9d8b6f5',
    };
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': 'y'.repeat(1_500) };
    const env = Array.from({ length: 10 }, (_, at) => ({ name: `E${at}`, value: 'v'.repeat(30) }));
    const container = {
      name: 'app',
      image: 'registry/app:1',
      ports: [{ name: 'http', containerPort: 8080 }],
      env,
    };
    put(
      'v1',
      'Pod',
      {
        name: `app-${index}`,
        namespace: 'shop',
        labels,
        annotations,
        managedFields: [{ x: 'z'.repeat(2_500) }],
      },
      {
        spec: { nodeName: `n${index % 50}`, serviceAccountName: 'app', containers: [container] },
        status: { phase: 'Running', podIPs: [{ ip: address(index) }] },
      },
    );
  }
  for (let index = 0; index < 200; index++) {
    const name = `s${index}`;
    const spec = { clusterIP: `10.96.0.${index}`, ports: [{ port: 80 }] };
    put('v1', 'Service', { name, namespace: 'shop' }, { spec });
    const endpoints = Array.from({ length: 10 }, (_, at) => ({ addresses: [address(index * 10 + at)] }));
    const labels = { 'kubernetes.io/service-name': name };
    const slice = { addressType: 'IPv4', ports: [{ port: 8080 }], endpoints };
    put('discovery.k8s.io/v1', 'EndpointSlice', { name: `${name}-x`, namespace: 'shop', labels }, slice);
  }
  for (let index = 0; index < 50; index++) {
    put('v1', 'Node', { name: `n${index}` }, { spec: { podCIDR: `10.244.${index}.0/24` } });
  }
  for (let index = 0; index < 300; index++) {
    const podSelector = { matchLabels: { app: `app-${index % 100}` } };
    const ingress = [{ from: [{ podSelector: { matchLabels: { tier: 'back' } } }] }];
    put(
      'networking.k8s.io/v1',
      'NetworkPolicy',
      { name: `p${index}`, namespace: 'shop' },
      { spec: { podSelector, ingress } },
    );
  }
  process.stdout.write(`${server.url}\n`);
}
