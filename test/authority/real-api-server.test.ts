import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { toCompact } from '../../src/identity/compact.ts';
import { KubeControlPlane } from '../support/kube-control-plane.ts';
import { until } from '../support/until.ts';
import { NODE, rawNamespace, rawPod, rawPolicy } from './cluster.ts';
import { Installation } from './installation.ts';

t.setTimeout(600_000);

t.test(
  'authority on a real API server: identity, slice, change of labels, second replica, deletion, foreign audience',
  async (t) => {
    const plane = await KubeControlPlane.start(t);
    const admin = plane.client();
    const pods = '/api/v1/namespaces/shop/pods';
    for (const name of ['shop', 'countersign-system'])
      await admin.create('/api/v1/namespaces', rawNamespace(name));
    await admin
      .create('/api/v1/namespaces/shop/serviceaccounts', { metadata: { name: 'default' } })
      .catch(() => {});
    await admin.create('/api/v1/nodes', NODE);
    const create = async (name: string, address: string, labels: Record<string, string>): Promise<void> => {
      const { metadata, spec, status, ...rest } = rawPod(name, { address, labels });
      const { uid: _, ...named } = metadata as Record<string, unknown>;
      const whole = {
        ...rest,
        metadata: named,
        spec: { ...(spec as object), automountServiceAccountToken: false },
      };
      const made = (await admin.create(pods, whole)) as object;
      const { podIPs } = status as { podIPs: { ip: string }[] };
      const running = { phase: 'Running', podIP: podIPs[0]!.ip, podIPs };
      await admin.request('PUT', `${pods}/${name}/status`, { body: { ...made, status: running } });
    };
    await create('web', '10.1.0.2', { app: 'web' });
    await create('db', '10.1.0.3', { app: 'db' });
    await admin.create(
      '/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies',
      rawPolicy('for-web', { app: 'web' }),
    );

    const at = new Installation(t, admin);
    const [one, two] = [await at.authority(), await at.authority()];
    const web = await at.startedLink([one], 'web');
    const db = await at.startedLink([two], 'db');
    t.match(web.identity.state?.own, { podName: 'web', labels: { app: 'web' } });
    t.strictSame(
      web.source.snapshot?.policies.map(({ name }) => name),
      ['for-web'],
    );
    const shown = db.identity.verify(toCompact(web.identity.jwt!));
    if (!('identity' in shown)) throw new Error('a replica does not believe what the other one signed');
    const known = () => db.source.snapshot!.directory.pod('shop', 'web');
    await until('the peer is known', () => known() !== undefined);

    await admin.request('PATCH', `${pods}/web`, {
      body: { metadata: { labels: { app: 'other' } } },
      contentType: 'application/merge-patch+json',
    });
    await until(
      'everybody has the new label',
      () => known()?.labels['app'] === 'other' && web.identity.state?.own.labels['app'] === 'other',
    );
    await until('its policy is not its own any more', () => web.source.snapshot?.policies.length === 0);

    const foreign = at.link([one], await at.tokenFile('web', { audience: 'vault' }));
    void foreign.source.start();
    await until('another audience is refused', () => /token-invalid/.test(foreign.identity.problem ?? ''));

    const token = await at.tokenFile('web');
    await admin.request('DELETE', `${pods}/web`, { body: { gracePeriodSeconds: 0 } });
    await until('the identity of the deleted pod is dead', () => !db.identity.stillHolds(shown.identity));
    const late = at.link([one], token);
    void late.source.start();
    await until('its token is worth nothing', () =>
      /token-invalid|pod-gone/.test(late.identity.problem ?? ''),
    );
    t.equal(late.identity.jwt, undefined);

    t.ok(plane.audit().length > 0);
    const POLICIES = '/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies';
    await admin.create(POLICIES, rawPolicy('for-db', { app: 'db' }));
    const policies = () => db.source.snapshot!.policies;
    await until('a policy arrives', () => policies().some(({ name }) => name === 'for-db'));
    const lost: string[] = [];
    db.source.subscribe(() => {
      if (!policies().some(({ name }) => name === 'for-db')) lost.push(JSON.stringify(policies()));
      if (db.identity.credentials() === undefined) lost.push('no identity');
    });
    let round = 0;
    const writes = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index++) {
        const peer = { podSelector: { matchLabels: { round: `r${++round}` } } };
        const body = rawPolicy('changing', { app: 'db' }, 'shop', { ingress: [{ from: [peer] }] });
        const options = {
          query: { fieldManager: 'test', force: 'true' },
          contentType: 'application/apply-patch+yaml',
          body: { ...body, apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' },
        };
        await until(`write ${round} succeeds`, () =>
          admin.request('PATCH', `${POLICIES}/changing`, options).then(
            () => true,
            () => false,
          ),
        );
      }
    };
    const ordeals: [string, () => Promise<void>][] = [
      ['killed and started anew', () => plane.restart()],
      ['compacted', () => plane.compact()],
      ['compacted, killed and started anew', () => plane.compact().then(() => plane.restart())],
      [
        'stopped for a while',
        async () => {
          await plane.signal('SIGSTOP');
          await sleep(3_000);
          await plane.signal('SIGCONT');
        },
      ],
    ];
    for (const [ordeal, run] of ordeals) {
      await Promise.all([run(), writes(20)]);
      await writes(5);
      await until(`the sidecar has the newest after the API server was ${ordeal}`, () =>
        JSON.stringify(policies()).includes(`"r${round}"`),
      );
      t.pass(ordeal);
    }
    t.strictSame(lost, [], 'at no moment was it without what had not changed');
  },
);
