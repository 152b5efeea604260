import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { KubeCluster, TEST_IMAGE } from '../support/kube-cluster.ts';
import { sweepLeftovers } from '../support/leftovers.ts';
import { cgroupsNamed } from '../support/node-cgroup.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

t.test('a real cluster of one node', { timeout: 900_000 }, async (t) => {
  const cluster = await KubeCluster.start(t);
  const server = `require('http').createServer((q, r) => r.end('hello from ' + require('os').hostname())).listen(8080)`;
  await cluster.kubectl(['create', 'namespace', 'shop']);
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'List',
    items: [
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web', namespace: 'shop' },
        spec: {
          replicas: 2,
          selector: { matchLabels: { app: 'web' } },
          template: {
            metadata: { labels: { app: 'web' } },
            spec: {
              terminationGracePeriodSeconds: 1,
              containers: [
                {
                  name: 'web',
                  image: TEST_IMAGE,
                  imagePullPolicy: 'Never',
                  command: ['/usr/bin/node', '-e', server],
                },
              ],
            },
          },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'web', namespace: 'shop' },
        spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
      },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'client', namespace: 'shop' },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'client',
              image: TEST_IMAGE,
              imagePullPolicy: 'Never',
              command: ['/bin/sleep', '100000'],
            },
          ],
        },
      },
    ],
  });
  await cluster.kubectl(['-n', 'shop', 'rollout', 'status', 'deployment/web', '--timeout=170s']);
  await cluster.podsReady('shop');

  t.test('a pod reaches a Service by its name, and the API server', async (t) => {
    // kube-proxy learns of endpoints after kubelet has said that they are ready.
    let said = '';
    await until('the Service answers', async () => {
      const ask = ['curl', '-sS', '--max-time', '20', 'http://web/'];
      said = await cluster.exec('shop', 'client', ask).catch(() => '');
      return said !== '';
    });
    t.match(said, /^hello from web-/);
    const folder = '/var/run/secrets/kubernetes.io/serviceaccount';
    const ask = `curl -sS --max-time 20 --cacert ${folder}/ca.crt -H "authorization: Bearer $(cat ${folder}/token)" https://$KUBERNETES_SERVICE_HOST/api/v1/pods`;
    const refused = await cluster.exec('shop', 'client', ['/bin/sh', '-c', ask]);
    t.match(
      refused,
      /"reason": "Forbidden"/,
      'the authority and the token of the pod are good, its rights are not',
    );
  });

  t.test('the node knows the pod network', async (t) => {
    const cidr = await cluster.kubectl(['get', 'node', '-o', 'jsonpath={.items[0].spec.podCIDR}']);
    t.equal(cidr, '10.244.0.0/24');
  });
});

t.test('a run that is killed leaves a folder and cgroups, and the next run takes them away', async (t) => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'killed-run.inside.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [folder] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  t.ok(processesOf(folder).length > 8, 'the programs of the cluster, shims and containers run');
  t.ok(cgroupsNamed(basename(folder)).length > 0);
  await sweepLeftovers();
  t.ok(existsSync(join(folder, 'owner')), 'what belongs to somebody who lives stays');
  child.kill('SIGKILL');
  await once(child, 'exit');
  await until('nobody of it lives', () => processesOf(folder).length === 0);
  t.notMatch(readFileSync('/proc/mounts', 'utf8'), folder, 'nothing was mounted where others see it');
  await sweepLeftovers();
  t.notOk(existsSync(folder));
  t.strictSame(cgroupsNamed(basename(folder)), []);
});

/** Processes that name a folder, in their arguments or as the place where their root is mounted: containers too. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc').filter((id) => {
    if (!/^\d+$/.test(id)) return false;
    try {
      const text = ['cmdline', 'mountinfo'].map((name) => readFileSync(`/proc/${id}/${name}`, 'utf8'));
      return text.some((one) => one.includes(folder));
    } catch {
      // It ended meanwhile.
      return false;
    }
  });
}
