import t from 'tap';
import { KubeCluster, TEST_IMAGE } from '../support/kube-cluster.ts';

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
    const said = await cluster.exec('shop', 'client', ['curl', '-sS', '--max-time', '20', 'http://web/']);
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
