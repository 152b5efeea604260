import { chownSync, mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { Cluster, PROXY_UID } from '../support/sidecars.ts';

/** Resumed connections to a Service address: the data thread picks among the endpoints that TypeScript has given it. */
const skip = cannotNetns();
t.setTimeout(900_000);

const ADDRESS = '10.99.200.1';
const SERVERS = ['one', 'two', 'three'] as const;

/** Says who it is to everybody who says something. */
const APP = (name: string): string => `
require('net').createServer((s) => s.on('error', () => {}).on('data', () => s.end('${name}')))
  .listen(8080, '::', () => console.log('up'));`;

/** One after the other; prints how often each server answered, and each error. */
const CALLS = (count: number): string => `
const net = require('net');
const once = () => new Promise((done) => {
  const s = net.connect(80, '${ADDRESS}', () => s.write('hello'));
  let heard = '';
  s.on('error', (error) => done(error.code)).on('data', (d) => (heard += d)).on('close', () => done(heard));
});
(async () => {
  const heard = {};
  for (let i = 0; i < ${count}; i++) { const one = await once(); heard[one] = (heard[one] ?? 0) + 1; }
  console.log(JSON.stringify(heard));
})();`;

t.test('resumed connections to a Service address by passes', { skip, timeout: 200_000 }, async (t) => {
  const cluster = new Cluster(t);
  for (const name of SERVERS) cluster.pod(name, { labels: { app: 'server', name } });
  cluster.pod('client', { labels: { drinks: 'beer' } });
  const service = (names: readonly string[], affinity = 'None'): void => {
    const endpoints = names.map((name) => `{addresses: [${cluster.addresses.get(name)!.four}]}`);
    cluster.write(
      'service.yaml',
      `apiVersion: v1
kind: Service
metadata: {name: server, namespace: demo}
spec: {clusterIP: ${ADDRESS}, clusterIPs: [${ADDRESS}], sessionAffinity: ${affinity}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: server-1, namespace: demo, labels: {kubernetes.io/service-name: server}}
addressType: IPv4
ports: [{name: "", port: 8080, protocol: TCP}]
endpoints: [${endpoints.join(', ')}]
`,
    );
  };
  service(SERVERS);
  for (const name of [...SERVERS, 'client']) {
    const folder = join(cluster.folder, `admin-${name}`);
    mkdirSync(folder);
    chownSync(folder, PROXY_UID, PROXY_UID);
    await cluster.startSidecar(name, ['--admin-socket', join(folder, 'socket')]);
  }
  for (const name of SERVERS) await cluster.app(name, APP(name));
  const calls = async (count: number): Promise<Record<string, number>> => {
    const { out } = await cluster.node('client', CALLS(count), 60_000);
    return JSON.parse(out) as Record<string, number>;
  };
  const byPass = async (name: string): Promise<number> => {
    const socket = join(cluster.folder, `admin-${name}`, 'socket');
    const { out } = await cluster.curl(name, 'http://admin/status', '--unix-socket', socket);
    return (JSON.parse(out) as { byPass: number }).byPass;
  };
  const eventually = async (what: string, condition: () => Promise<boolean> | boolean): Promise<void> => {
    const deadline = Date.now() + 40_000;
    while (!(await condition())) {
      if (Date.now() > deadline) throw new Error(`40 s without: ${what}`);
      await sleep(50);
    }
    t.pass(what);
  };
  const answering = (heard: Record<string, number>): string => Object.keys(heard).sort().join(' ');
  /** Until the sidecar knows of a change, and each of these has a session and a pass. */
  const settled = (names: string): Promise<void> =>
    eventually(`${names} answer, nobody else`, async () => answering(await calls(30)) === names);

  t.test('they spread evenly over the endpoints, most without TypeScript', async (t) => {
    await settled('one three two');
    const before = await byPass('client');
    const heard = await calls(300);
    t.equal(answering(heard), 'one three two');
    // Eight standard deviations of 8.2: beyond them once in 10^15 runs.
    for (const name of SERVERS) t.ok(heard[name]! > 34 && heard[name]! < 166, `${name}: ${heard[name]}`);
    t.ok((await byPass('client')) >= before + 200, 'by passes at the client');
    for (const name of SERVERS) t.ok((await byPass(name)) > 0, `by passes at ${name}`);
    t.match(
      await cluster.flow('client', (one) => one.handshake === 'resumed'),
      { verdict: 'allow', peer: 'proven', destination: { namespace: 'demo', port: 8080 } },
      'the record names the endpoint',
    );
  });

  t.test('an endpoint that has left is called no more', async (t) => {
    service(['one', 'two']);
    await settled('one two');
    t.equal(answering(await calls(60)), 'one two');
    service(SERVERS);
    await settled('one three two');
  });

  t.test('an endpoint that policy forbids since its labels changed is called no more', async (t) => {
    cluster.write(
      'policy.yaml',
      `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: demo}
spec:
  podSelector: {matchLabels: {drinks: beer}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: server}}}]}]
`,
    );
    await eventually('the policy is in force', async () => {
      await calls(3);
      return cluster.flows('client').some((one) => one.reason === 'policy-allowed');
    });
    t.equal(answering(await calls(60)), 'one three two', 'all are allowed');
    cluster.describe('two', { app: 'other', name: 'two' });
    await settled('one three');
    const before = await byPass('client');
    t.equal(answering(await calls(60)), 'one three');
    t.ok((await byPass('client')) > before, 'and the others go by passes again');
  });

  t.test('with client affinity all go to one', async (t) => {
    service(SERVERS, 'ClientIP');
    await eventually('one server', async () => Object.keys(await calls(20)).length === 1);
    const before = await byPass('client');
    t.equal(Object.keys(await calls(40)).length, 1);
    t.ok((await byPass('client')) >= before + 20, 'by passes');
  });
});
