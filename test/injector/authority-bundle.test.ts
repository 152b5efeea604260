import t from 'tap';
import { AuthorityBundle } from '../../src/injector/authority-bundle.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { ApiError } from '../../src/kube/api-error.ts';

const PEM = (text: string): string => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
const SYSTEM = 'countersign-system';

interface Copy {
  readonly metadata: { readonly namespace: string; readonly ownerReferences?: readonly object[] };
  readonly data: Readonly<Record<string, string>>;
}

/** What an API server holds of this: ConfigMaps by namespace, and the uid of the installation's own namespace. Some namespaces take nothing. */
class Copies {
  readonly held = new Map<string, Copy>();
  readonly closed = new Set<string>();
  uid = 'uid-1';
  writes = 0;

  publish(text: string): void {
    this.held.set(SYSTEM, { metadata: { namespace: SYSTEM }, data: { 'ca.pem': PEM(text) } });
  }

  text(namespace: string): string | undefined {
    return this.held.get(namespace)?.data['ca.pem'];
  }

  get client(): ApiClient {
    const write = (namespace: string, copy: Copy): void => {
      if (this.closed.has(namespace)) throw new ApiError('being terminated', { status: 403 });
      this.writes++;
      this.held.set(namespace, copy);
    };
    return {
      get: async (path: string) => {
        if (path === `/api/v1/namespaces/${SYSTEM}`) return { metadata: { uid: this.uid } };
        if (path === '/api/v1/configmaps') return { items: [...this.held.values()] };
        const found = this.held.get(path.split('/')[4]!);
        if (found === undefined || !path.endsWith('/configmaps/ca'))
          throw new ApiError('not found', { status: 404 });
        return found;
      },
      create: async (path: string, copy: Copy) => {
        const namespace = path.split('/')[4]!;
        if (this.held.has(namespace)) throw new ApiError('it is there', { status: 409 });
        write(namespace, copy);
      },
      request: async (_method: string, path: string, { body }: { body: Copy }) =>
        write(path.split('/')[4]!, body),
    } as unknown as ApiClient;
  }
}

function given(): { copies: Copies; bundle: AuthorityBundle } {
  const copies = new Copies();
  copies.publish('one');
  return {
    copies,
    bundle: new AuthorityBundle({ client: copies.client, namespace: SYSTEM, name: 'ca' }),
  };
}

t.test('certificates: a copy belongs to the namespace of the installation, and to no webhook', async (t) => {
  const { copies, bundle } = given();
  await bundle.bringTo('shop');
  t.equal(copies.text('shop'), PEM('one'));
  t.strictSame(copies.held.get('shop')?.metadata.ownerReferences, [
    { apiVersion: 'v1', kind: 'Namespace', name: SYSTEM, uid: 'uid-1' },
  ]);
  await bundle.bringTo('shop');
  await bundle.bringTo(SYSTEM);
  t.equal(copies.writes, 1, 'once, and never over what the authority publishes');
});

t.test(
  'certificates: copies are renewed, and made where sidecars are without one, whoever put them there',
  async (t) => {
    const { copies, bundle } = given();
    await bundle.bringTo('shop');
    await bundle.renewAll(['shop', 'by-hand', SYSTEM]);
    t.equal(copies.text('by-hand'), PEM('one'));
    t.equal(copies.writes, 2, 'what is sound is left alone');
    copies.publish('two');
    copies.held.delete('by-hand');
    await bundle.renewAll(['by-hand']);
    for (const place of ['shop', 'by-hand']) t.equal(copies.text(place), PEM('two'), place);
    copies.held.delete('shop');
    await bundle.renewAll([]);
    t.equal(copies.text('shop'), undefined, 'nobody there has a sidecar any more');
    await bundle.bringTo('shop');
    t.equal(copies.text('shop'), PEM('two'), 'and one that comes has it again');
  },
);

t.test(
  'certificates: a copy of a former installation, and one with another owner, become this one’s',
  async (t) => {
    const { copies, bundle } = given();
    await bundle.bringTo('shop');
    copies.uid = 'uid-2';
    await bundle.renewAll([]);
    t.match(copies.held.get('shop')?.metadata.ownerReferences, [{ uid: 'uid-2' }]);
  },
);

t.test(
  'certificates: a namespace that takes nothing is told of, and does not keep others waiting',
  async (t) => {
    const { copies, bundle } = given();
    copies.closed.add('ending');
    await t.rejects(bundle.renewAll(['ending', 'shop']), { message: /being terminated/ });
    t.equal(copies.text('shop'), PEM('one'));
    copies.held.set(SYSTEM, { metadata: { namespace: SYSTEM }, data: {} });
    await t.rejects(bundle.renewAll(['shop']), { message: /has no certificates in ca\.pem/ });
  },
);
