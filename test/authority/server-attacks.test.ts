import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectH2, constants } from 'node:http2';
import { connect, type TLSSocket } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { openSession, post } from '../../src/authority-client/transport.ts';
import { signRequest } from '../../src/authority-protocol/request-proof.ts';
import { AuthorityServer } from '../../src/authority/server.ts';
import { ServingCertificates } from '../../src/certificates/serving-certificates.ts';
import { formatEndpoint } from '../../src/lib/address.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import type { FakeObject } from '../support/fake-store.ts';
import { StoredObject } from '../support/shared-objects.ts';
import { hasLoopback6 } from '../support/loopback6.ts';
import { until } from '../support/until.ts';
import { NODE, rawNamespace, rawPod } from './cluster.ts';
import { Installation } from './installation.ts';

t.setTimeout(300_000);

/** A server in front of nothing: what it is asked for is of no matter here. */
async function bareServer(
  t: Test,
  idleMs?: number,
  address = '127.0.0.1',
): Promise<{ url: string; ca: string; port: number }> {
  const certificates = new ServingCertificates({
    object: new StoredObject().handle(),
    names: ['localhost', '127.0.0.1'],
  });
  await certificates.start();
  const server = new AuthorityServer(
    {
      issuer: { issue: () => Promise.reject(new Error('nobody gets here')) } as never,
      streams: { lookup: undefined } as never,
      trust: () => ({}),
      published: () => ({ trust_domain: 'cluster.local', keys: [] }),
      markOf: () => undefined,
      keyOf: () => undefined,
      onAnswer: () => {},
      onDefect: () => {},
      ...(idleMs === undefined ? {} : { idleMs }),
    },
    certificates.serving,
  );
  const bound = await server.listen({ address, port: 0 });
  t.teardown(async () => {
    certificates.close();
    await server.close();
  });
  return { url: `https://${formatEndpoint(bound)}`, ca: certificates.bundle, port: bound.port };
}

function session(t: Test, { url, ca }: { url: string; ca: string }): ClientHttp2Session {
  const opened = connectH2(url, { ca, minVersion: 'TLSv1.3' });
  opened.on('error', () => {});
  t.teardown(() => opened.destroy());
  return opened;
}

function closing(stream: ClientHttp2Stream): Promise<void> {
  return new Promise((resolve) => stream.once('close', () => resolve()));
}

async function statusOf(client: ClientHttp2Session, method: string, path: string): Promise<number> {
  const stream = client.request({ ':method': method, ':path': path });
  stream.on('error', () => {});
  stream.resume().end();
  const [head] = (await once(stream, 'response')) as [Record<string, unknown>];
  return Number(head[':status']);
}

t.test('authority server, attacked: who asks without end is told to wait on every path', async (t) => {
  const client = session(t, await bareServer(t));
  for (const [method, path] of [
    ['GET', '/v1/jwks'],
    ['POST', '/v1/stream'],
    ['GET', '/nowhere'],
  ] as const) {
    let last = 0;
    // Ten come back each second: more than a hundred in a row are too many on any machine that answers eleven in a second.
    for (let asked = 0; asked < 2_000 && last !== 429; asked++) last = await statusOf(client, method, path);
    t.equal(last, 429, path);
  }
});

t.test(
  'authority server, attacked: a body that never ends and a head that is too long end the request',
  async (t) => {
    const client = session(t, await bareServer(t));
    const slow = client.request({ ':method': 'POST', ':path': '/v1/identity' });
    slow.on('error', () => {});
    const ended = closing(slow);
    const drip = setInterval(() => void (slow.writable && slow.write('x')), 500);
    t.teardown(() => clearInterval(drip));
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`x-${at}`, 'y']));
    const long = client.request({ ':method': 'GET', ':path': '/v1/jwks', ...many });
    long.on('error', () => {});
    await closing(long);
    t.equal(long.rstCode, constants.NGHTTP2_ENHANCE_YOUR_CALM, 'sixty fields');
    await ended;
    t.ok(slow.closed, 'one byte each half second');
    t.equal(
      await statusOf(client, 'GET', '/v1/jwks'),
      200,
      'and who is polite on the same connection is served',
    );
  },
);

t.test(
  'authority server, attacked: one address has 64 connections, whatever it does with them',
  async (t) => {
    const { port, ca } = await bareServer(t);
    const open = new Set<TLSSocket>();
    t.teardown(() => open.forEach((socket) => socket.destroy()));
    const one = (): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = connect({ port, host: '127.0.0.1', ca, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' });
        open.add(socket);
        socket.once('secureConnect', () => resolve(true));
        socket.once('error', () => resolve(false)).once('close', () => resolve(false));
      });
    const first = await Promise.all(Array.from({ length: 64 }, one));
    t.ok(first.every(Boolean), '64 are taken');
    t.notOk(await one(), 'the next is not');
    for (const socket of open) socket.destroy();
    await until('their places are free again', one);
  },
);

t.test('authority server, attacked: pings keep no connection on which nothing is asked', async (t) => {
  const client = session(t, await bareServer(t, 2_000));
  const held = client.request({ ':method': 'POST', ':path': '/v1/identity' });
  held.on('error', () => {});
  const pings = setInterval(() => void (client.destroyed || client.ping(() => {})), 20);
  t.teardown(() => clearInterval(pings));
  await sleep(3_000);
  t.notOk(client.closed, 'as long as a request is open it stays');
  held.close();
  await until('it is closed', () => client.destroyed);
});

t.test('authority server: on :: it answers both families', async (t) => {
  const { ca, port } = await bareServer(t, undefined, '::');
  for (const host of hasLoopback6() ? ['127.0.0.1', '::1'] : ['127.0.0.1']) {
    const socket = connect({ host, port, ca, servername: 'localhost', ALPNProtocols: ['h2'] });
    t.teardown(() => socket.destroy());
    await once(socket, 'secureConnect');
    t.ok(socket.authorized, host);
  }
});

t.test('authority server, attacked: the request of a stream counts once', async (t) => {
  const api = await new FakeApiServer().start();
  t.teardown(() => api.close());
  const put = (object: object): void => void api.put(object as unknown as FakeObject);
  for (const name of ['shop', 'countersign-system']) put(rawNamespace(name));
  put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: 'shop', name: 'default' } });
  put(NODE);
  put(rawPod('web', { address: '10.1.0.2' }));
  const client = api.client();
  t.teardown(() => client.close());
  const at = new Installation(t, client);
  const authority = await at.authority();
  const link = await at.startedLink([authority], 'web');
  const opened = await openSession(`https://${formatEndpoint(authority.endpoint!)}`, authority.authorities);
  t.teardown(() => opened.destroy());
  const token = link.identity.jwt!;
  const about = { method: 'POST', path: '/v1/stream', body: '', token };
  const proof = await signRequest(about, link.identity.key, Date.now() / 1000, crypto.randomUUID());
  const headers = { authorization: `Bearer ${token}`, 'countersign-proof': proof };
  const first = opened.request({ ':method': 'POST', ':path': '/v1/stream', ...headers });
  first.on('error', () => {});
  const [head] = (await once(first, 'response')) as [Record<string, unknown>];
  t.equal(head[':status'], 200);
  t.match(await post(opened, '/v1/stream', headers, ''), { status: 401, body: /used before/ });
});
