import { connect, createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { AuthorityLink } from '../../src/authority-client/authority-link.ts';
import type { Endpoint } from '../../src/lib/address.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import type { FakeObject } from '../support/fake-store.ts';
import { NODE, rawNamespace, rawPod } from './cluster.ts';
import { Installation } from './installation.ts';

/** Passes connections on and counts them. @returns its port, and how many came */
async function counting(t: Test, to: Endpoint): Promise<{ port: number; count: () => number }> {
  let count = 0;
  const server = createServer((socket) => {
    count++;
    const onwards = connect({ host: to.address, port: to.port });
    for (const side of [socket, onwards]) side.on('error', () => {});
    socket.pipe(onwards).pipe(socket);
    socket.on('close', () => onwards.destroy());
    onwards.on('close', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, count: () => count };
}

async function linkTo(t: Test): Promise<{ link: AuthorityLink; count: () => number }> {
  const api = await new FakeApiServer().start();
  t.teardown(() => api.close());
  const put = (object: object): void => void api.put(object as unknown as FakeObject);
  for (const name of ['shop', 'countersign-system']) put(rawNamespace(name, {}));
  put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: 'shop', name: 'default' } });
  put(NODE);
  put(rawPod('web', { address: '10.1.0.2', labels: { app: 'web' } }));
  const client = api.client();
  t.teardown(() => client.close());
  const at = new Installation(t, client);
  const authority = await at.authority();
  // An authority that has not read its cluster yet refuses, and who is refused comes again.
  const other = await at.startedLink([authority], 'web');
  await other.source.close();
  const { port, count } = await counting(t, authority.endpoint!);
  const link = new AuthorityLink({
    urls: [`https://127.0.0.1:${port}`],
    caFile: at.caFile,
    tokenFile: await at.tokenFile('web'),
    pod: 'shop/web',
    mode: 'enforce',
    release: 'test',
  });
  t.teardown(() => link.source.close());
  return { link, count };
}

for (const ahead of [true, false]) {
  const how = ahead ? 'opened ahead' : 'opened for the first request';
  t.test(`authority: identity and stream of a start come over one connection, ${how}`, async (t) => {
    const { link, count } = await linkTo(t);
    if (ahead) link.connect();
    await link.source.start();
    t.ok(link.identity.jwt !== undefined && link.source.connected);
    t.equal(count(), 1);
  });
}
