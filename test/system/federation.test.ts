import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { rawPolicy } from '../authority/cluster.ts';
import { AuthorityCluster } from '../support/authority-cluster.ts';
import { cannotNetns } from '../support/netns.ts';
import { Cluster, HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

t.setTimeout(600_000);

/** The routers' addresses on the link between the two networks. */
const WEST = '203.0.113.1';
const EAST = '203.0.113.2';

for (const mode of ['redirect', 'nfqueue'] as const)
  t.test(
    `federation, with real sidecars in ${mode} mode: two authorities, and routers that translate the addresses of two networks with the same pods`,
    { skip: cannotNetns(), timeout: 240_000 },
    async (t) => {
      const clusters = { west: new Cluster(t), east: new Cluster(t) };
      clusters.west.network.joinByNat(clusters.east.network, `${WEST}/24`, `${EAST}/24`);
      const [west, east] = await Promise.all([
        AuthorityCluster.start(t, { trustDomain: 'west.example', outside: WEST }, clusters.west),
        AuthorityCluster.start(t, { trustDomain: 'east.example', outside: EAST }, clusters.east),
      ]);
      const eastInWest = {
        trust_domain: 'east.example',
        keys_url: `https://${EAST}:14443/v1/jwks`,
        ca_file: east.caFile,
        refresh: 1,
        networks: [`${EAST}/32`],
        namespaces: [{ name: 'demo', as: 'demo.east' }],
      };
      const westInEast = {
        trust_domain: 'west.example',
        keys_url: `https://${WEST}:14443/v1/jwks`,
        ca_file: west.caFile,
        refresh: 1,
        networks: [`${WEST}/32`],
        namespaces: [{ name: 'demo', as: 'demo.west', labels: { side: 'west' } }],
      };
      west.federate(eastInWest);
      east.federate(westInEast);
      const ofEast = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'demo.east' } } };
      const ofWest = {
        namespaceSelector: { matchLabels: { side: 'west' } },
        podSelector: { matchLabels: { role: 'web' } },
      };
      await west.put(
        rawPolicy('web', { role: 'web' }, 'demo', { policyTypes: ['Egress'], egress: [{ to: [ofEast] }] }),
      );
      await east.put(rawPolicy('db', { app: 'db' }, 'demo', { ingress: [{ from: [ofWest] }] }));
      // How the eastern cluster says that its router leads there.
      await east.put({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace: 'demo', name: 'db' },
        spec: {
          clusterIPs: ['10.99.200.1'],
          externalIPs: [EAST],
          ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        },
      });
      const db = await east.pod('db', { app: 'db' }, mode);
      await west.pod('web', { role: 'web' }, mode);
      await west.pod('guest', { role: 'guest' }, mode);
      await east.put({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { namespace: 'demo', name: 'db-1', labels: { 'kubernetes.io/service-name': 'db' } },
        addressType: 'IPv4',
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [{ addresses: [db], conditions: { ready: true } }],
      });
      clusters.east.network.forward(8080, db);
      await clusters.east.app('db', HTTP_APP('db'));
      const call = async (from: string): Promise<boolean> =>
        (await clusters.west.curl(from, `http://${EAST}:8080/`)).out.includes('db got');

      await until('the pods know each other', () => call('web'));
      await until('the session of before is resumed', async () => {
        await call('web');
        return clusters.east
          .flows('db')
          .some((flow) => flow.handshake === 'resumed' && flow.verdict === 'allow');
      });
      const allowed = await clusters.east.flow('db', (flow) => flow.verdict === 'allow');
      t.match(allowed, {
        peer: 'federated',
        source: { address: WEST, namespace: 'demo.west', pod: 'web', trust_domain: 'west.example' },
        policy: 'networkpolicy/demo/db',
      });
      t.match(await clusters.west.flow('web', (flow) => flow.verdict === 'allow'), {
        peer: 'federated',
        destination: { address: EAST, namespace: 'demo.east', pod: 'db', trust_domain: 'east.example' },
        policy: 'networkpolicy/demo/web',
      });

      // Its sidecar may have heard of the other domain a moment later.
      await until('policy denies who has another label', async () => {
        t.notOk(await call('guest'));
        return clusters.east.flows('db').some((flow) => flow.reason === 'policy-denied');
      });
      t.match(await clusters.east.flow('db', (flow) => flow.reason === 'policy-denied'), {
        peer: 'federated',
        source: { namespace: 'demo.west', pod: 'guest' },
      });

      /** A connection that stays open. Resolves when it is relayed, to what resolves when it is cut. */
      const open = async (): Promise<{ cut: Promise<unknown> }> => {
        for (;;) {
          const child = clusters.west.network.start('web', [
            join(clusters.west.program, '.setup/node'),
            '-e',
            `require('net').connect(8080, '${EAST}').on('close', () => console.log('cut')).on('error', () => {})`,
          ]);
          let over = false;
          const cut = once(child.stdout!, 'data').then(() => (over = true));
          await until('it is relayed, or did not come about in time', async () => {
            const { out } = await clusters.east.curl('db', 'http://127.0.0.1:14020/metrics');
            return over || out.includes('countersign_open_connections{direction="inbound"} 1');
          });
          if (!over) return { cut };
        }
      };
      /** What calls are refused for now. */
      const refusedFor = async (reason: string): Promise<void> => {
        await until(`calls are refused as ${reason}`, async () => {
          t.notOk(await call('web'), 'nothing is let in, or resumed');
          return clusters.east.flows('db').some((flow) => flow.reason === reason);
        });
      };

      const unmapped = await open();
      east.federate({
        ...westInEast,
        namespaces: [{ name: 'other', as: 'other.west', labels: { side: 'west' } }],
      });
      await unmapped.cut;
      await clusters.east.flow('db', (flow) => flow.reason === 'identity-revoked');
      await refusedFor('foreign-domain');
      east.federate(westInEast);
      await until('it is mapped again', () => call('web'));

      // The western keys are lost; its sidecars get identities of new ones, and the eastern authority hears of those by itself.
      await west.tell({ authority: 'stop' });
      await west.tell({
        remove: {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: { namespace: 'countersign-system', name: 'countersign-signing-keys' },
        },
      });
      await west.tell({ authority: 'start' });
      await until('the new keys are believed', () => call('web'));

      const removed = await open();
      east.federate();
      // The connection may be of the lost keys' time and end with those: that it is cut does not say yet that the domain is gone.
      await removed.cut;
      await until('nothing of a removed domain is let in', async () => !(await call('web')));
      for (const round of [1, 2, 3]) t.notOk(await call('web'), `nor later, call ${round}`);
    },
  );
