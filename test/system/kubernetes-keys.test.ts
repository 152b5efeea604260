import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { generateSharedSecret } from '../../src/identity/keys.ts';
import { keyPem, makeAuthority, makeLeaf, names, pemOf, podIdentity, spiffeId } from '../pki/certificates.ts';
import { ApiCluster, GREETER, hold } from '../support/api-cluster.ts';
import { cannotNetns } from '../support/netns.ts';
import { HTTP_APP, PROXY_UID } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

t.setTimeout(600_000);

const KINDS = ['psk', 'pki'] as const;
type Kind = (typeof KINDS)[number];

t.test(
  'sidecars that read a real API server themselves, with a shared secret and with certificates',
  { skip: cannotNetns(), timeout: 590_000 },
  async (t) => {
    const world = await ApiCluster.start(t);
    const { plane, cluster } = world;
    const root = await makeAuthority('root');
    const folder = join(cluster.folder, 'own-keys');
    mkdirSync(folder);
    const file = (name: string, text: string): string => {
      const path = join(folder, name);
      writeFileSync(path, text, { mode: 0o400 });
      chownSync(path, PROXY_UID, PROXY_UID);
      return path;
    };
    const secret = file('secret.json', JSON.stringify(generateSharedSecret('cluster.local')));
    const roots = file('roots.pem', pemOf(root));
    /** What is asked of whoever hands out keys; everything else a sidecar learns from the API. */
    const keysOf = async (kind: Kind, pod: string, uid: string): Promise<string[]> => {
      if (kind === 'psk') return ['--identity', 'psk', '--psk', secret];
      const leaf = await makeLeaf(root, {
        names: names(spiffeId('demo', 'default')),
        podIdentity: podIdentity({ namespace: 'demo', account: 'default', pod, uid }),
      });
      const certificate = file(`${pod}.pem`, pemOf(leaf));
      const key = ['--key', file(`${pod}.key`, await keyPem(leaf))];
      const trust = ['--trust', roots, '--trust-domain', 'cluster.local'];
      return ['--identity', 'pki', '--certificate', certificate, ...key, ...trust];
    };
    for (const kind of KINDS) {
      await world.allow(kind, `${kind}-db`, { role: 'web' });
      for (const [name, labels] of Object.entries({ db: { app: `${kind}-db` }, web: { role: 'web' } })) {
        const pod = `${kind}-${name}`;
        const uid = await world.pod(pod, labels);
        await cluster.startSidecarWith(pod, [...world.flags, ...(await keysOf(kind, pod, uid))]);
      }
      await cluster.app(`${kind}-db`, HTTP_APP('db'));
      await cluster.app(`${kind}-db`, GREETER);
    }
    const address = (kind: Kind): string => cluster.addresses.get(`${kind}-db`)!.four;
    const served = async (kind: Kind): Promise<boolean> =>
      (await cluster.curl(`${kind}-web`, `http://${address(kind)}:8080/`)).out.includes('db got');

    for (const kind of KINDS) {
      await t.test(`${kind}: labels of the API decide, and a change of them cuts what is open`, async (t) => {
        t.ok(await served(kind));
        const allowed = await cluster.flow(`${kind}-db`, ({ verdict }) => verdict === 'allow');
        t.match(allowed, { peer: 'proven', source: { pod: `${kind}-web` } });
        const held = hold(cluster, `${kind}-web`, address(kind));
        await until('a connection is open', () => held.said.includes('open'));
        await world.describe(`${kind}-web`, { role: 'guest' });
        await until('it is cut', () => held.said.includes('end'));
        t.match(held.said, /ECONNRESET/);
        t.notOk(await served(kind));
        const denied = await cluster.flow(`${kind}-db`, ({ reason }) => reason === 'policy-denied');
        t.match(denied, { peer: 'proven', verdict: 'deny', source: { pod: `${kind}-web` } });
      });
    }

    await t.test('both: an API server that is away changes nothing, either way', async (t) => {
      await world.describe('psk-web', { role: 'web' });
      await until('one of the two is let in again', () => served('psk'));
      await plane.signal('SIGKILL');
      for (const kind of KINDS) {
        await until(`${kind}: the sidecar tells of it`, async () =>
          (await world.readyz(`${kind}-db`)).includes('the last state stays in force'),
        );
        t.match(await world.readyz(`${kind}-db`), /^ready/);
      }
      t.ok(await served('psk'));
      t.notOk(await served('pki'));
      await plane.startApiServer();
      await until('what it says later counts', () =>
        world.describe('pki-web', { role: 'web' }).then(
          () => true,
          () => false,
        ),
      );
      await until('the other is let in, too', () => served('pki'));
      t.ok(await served('psk'));
    });

    await t.test('pki: the certificate of a pod that is deleted is good for nothing', async (t) => {
      const held = hold(cluster, 'pki-web', address('pki'));
      await until('a connection is open', () => held.said.includes('open'));
      await world.delete('pki-web');
      await until('it is cut', () => held.said.includes('end'));
      t.notOk(await served('pki'));
      // The pod is missed at once, or its tokens are dead because it was seen to go: whichever is asked first.
      const unknown = ['identity-revoked', 'pod-unknown'];
      const denied = await cluster.flow(
        'pki-db',
        ({ reason, handshake }) => handshake === 'full' && unknown.includes(reason),
      );
      t.match(denied, { verdict: 'deny' });
    });
  },
);
