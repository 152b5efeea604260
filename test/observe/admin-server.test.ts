import { once } from 'node:events';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { UserError } from '../../src/errors.ts';
import { AdminServer, json, type Routes, text } from '../../src/observe/admin-server.ts';
import { hasLoopback6 } from '../support/loopback6.ts';

const ROUTES: Routes = {
  'GET /healthz': () => text(200, 'ok\n'),
  'GET /readyz': () => text(503, 'identity: not yet\n'),
  'GET /level': () => json(200, { level: 'info' }),
  'PUT /level': (body) => text(200, `got ${body}\n`),
  'GET /broken': () => {
    throw new Error('/secret/path/key.jwk is unreadable');
  },
};

interface Got {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

async function serve(t: Test, address = '127.0.0.1', onDefect?: (error: unknown) => void) {
  const server = new AdminServer(ROUTES, onDefect);
  const { port } = await server.listen({ address, port: 0 });
  t.teardown(() => server.close());
  return { server, port };
}

t.test(
  'admin server: on :: it answers both families, so that nobody else can have its port in one of them',
  async (t) => {
    const { port } = await serve(t, '::');
    t.match(await ask({ host: '127.0.0.1', port }, 'GET', '/healthz'), { status: 200 });
    if (hasLoopback6()) t.match(await ask({ host: '::1', port }, 'GET', '/healthz'), { status: 200 });
    for (const [host, ipv6Only] of [
      ['0.0.0.0', false],
      ['::', true],
    ] as const) {
      const other = createServer();
      const outcome = once(other.listen({ host, port, ipv6Only }), 'listening');
      await t.rejects(outcome, { code: 'EADDRINUSE' }, host);
      other.close();
    }
  },
);

function ask(where: object, method: string, path: string, body?: string): Promise<Got> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...where, method, path, agent: false, timeout: 20_000 }, (response) => {
      let got = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (got += chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: got }),
      );
    });
    asked.on('error', reject).on('timeout', () => asked.destroy(new Error('no answer in 5 s')));
    asked.end(body);
  });
}

async function hold(t: Test, port: number, from: string, bytes: string): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  socket.write(bytes);
  return socket;
}

/** Reads and forgets until the connection is gone, however it ends. */
function gone(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    socket.resume().once('close', () => resolve());
  });
}

/** A unix socket's path is short, unlike those of test folders. */
function shortFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'cs-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

t.test('admin server: GET and HEAD give the same head, PUT gets its body', async (t) => {
  const { port } = await serve(t);
  const get = await ask({ port }, 'GET', '/readyz?verbose');
  t.equal(get.status, 503);
  t.equal(get.body, 'identity: not yet\n');
  t.equal(get.headers['content-type'], 'text/plain; charset=utf-8');
  t.equal(get.headers['cache-control'], 'no-store');
  const head = await ask({ port }, 'HEAD', '/readyz');
  t.strictSame([head.status, head.body], [503, '']);
  t.equal(head.headers['content-length'], get.headers['content-length']);
  t.equal((await ask({ port }, 'PUT', '/level', 'debug')).body, 'got debug\n');
  t.strictSame(JSON.parse((await ask({ port }, 'GET', '/level')).body), { level: 'info' });
});

t.test('admin server: another path is 404, another method 405 that names the ones there are', async (t) => {
  const { port } = await serve(t);
  for (const path of [
    '/',
    '/healthz/',
    '/HEALTHZ',
    '/__proto__',
    '/constructor',
    '/..%2fhealthz',
    '//healthz',
  ]) {
    t.equal((await ask({ port }, 'GET', path)).status, 404, path);
  }
  const post = await ask({ port }, 'POST', '/healthz', 'x');
  t.strictSame([post.status, post.headers['allow']], [405, 'GET, HEAD']);
  const gone = await ask({ port }, 'DELETE', '/level');
  t.strictSame([gone.status, gone.headers['allow']], [405, 'GET, HEAD, PUT']);
});

t.test('admin server: an error inside is told to the owner, not to the client', async (t) => {
  const defects: unknown[] = [];
  const { port } = await serve(t, '127.0.0.1', (error) => defects.push(error));
  const got = await ask({ port }, 'GET', '/broken');
  t.strictSame([got.status, got.body], [500, 'internal error\n']);
  t.match(defects, [{ message: /secret/ }]);
});

t.test('admin server: a body is small or refused, and one for GET is not waited for', async (t) => {
  const { port } = await serve(t);
  const large = await ask({ port }, 'PUT', '/level', 'x'.repeat(2_000)).catch(
    (error: Error) => error.message,
  );
  t.match(large, { status: 400, body: /more than 1024 bytes/ });
  const socket = await hold(
    t,
    port,
    '127.0.0.1',
    'GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n',
  );
  const [answer] = (await once(socket, 'data', { signal: AbortSignal.timeout(20_000) })) as [Buffer];
  t.match(String(answer), /^HTTP\/1\.1 200 OK\r\n[^]*connection: close/i);
});

t.test('admin server: IPv6 is served under its address', async (t) => {
  const { port } = await serve(t, '::1');
  t.equal((await ask({ port, host: '::1' }, 'GET', '/healthz')).body, 'ok\n');
});

t.test('admin server: an address that is taken is a clear error', async (t) => {
  const { port } = await serve(t);
  await t.rejects(new AdminServer(ROUTES).listen({ address: '127.0.0.1', port }), {
    name: UserError.name,
    message: new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port}: .*EADDRINUSE`),
  });
});

t.test(
  'admin server: thousands of half requests from one source do not take the place of another',
  async (t) => {
    const { server, port } = await serve(t);
    const kubelet = await hold(t, port, '127.0.0.1', 'GET /healthz HTTP/1.1\r\nHost: x\r\n');
    const begun = performance.now();
    // A request has five seconds for its header, kubelet's too; a slow machine makes fewer of the others meanwhile.
    for (let round = 0; round < 3 || (round < 30 && performance.now() - begun < 2_000); round++) {
      await Promise.all(
        Array.from({ length: 50 }, () => hold(t, port, '127.0.0.2', 'GET /healthz HTTP/1.1\r\nX: ')),
      );
      if (round % 10 === 0) t.equal((await ask({ port }, 'GET', '/healthz')).status, 200);
    }
    t.ok(server.connections <= 64, `${server.connections} connections are held`);
    kubelet.write('\r\n');
    const [answer] = (await once(kubelet, 'data', { signal: AbortSignal.timeout(20_000) })) as [Buffer];
    t.match(String(answer), /^HTTP\/1\.1 200 OK/);
  },
);

t.test('admin server: a request that never ends is cut within seconds', async (t) => {
  const { port } = await serve(t);
  const from = performance.now();
  const slow = await hold(t, port, '127.0.0.1', 'GET /healthz HTTP/1.1\r\n');
  const silent = await hold(t, port, '127.0.0.1', '');
  const drip = setInterval(() => slow.write('X-A: b\r\n'), 300);
  t.teardown(() => clearInterval(drip));
  await Promise.all([gone(slow), gone(silent)]);
  t.ok(performance.now() - from < 30_000, `${performance.now() - from} ms`);
});

t.test('admin server: a header of megabytes ends the connection, not the process', async (t) => {
  const { port } = await serve(t);
  const socket = await hold(t, port, '127.0.0.1', `GET /healthz HTTP/1.1\r\nX: ${'y'.repeat(2 << 20)}`);
  await gone(socket);
  t.equal((await ask({ port }, 'GET', '/healthz')).status, 200);
});

t.test('admin server: bytes that are no HTTP end the connection, not the process', async (t) => {
  const { port } = await serve(t);
  for (const bytes of [
    '\u0016\u0003\u0001\u0002\u0000',
    'CONNECT x:1 HTTP/1.1\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    '\0'.repeat(99),
  ]) {
    const socket = await hold(t, port, '127.0.0.1', bytes);
    await gone(socket);
  }
  t.equal((await ask({ port }, 'GET', '/healthz')).status, 200);
});

t.test(
  'admin server: a thousand requests in one packet all get an answer',
  { timeout: 60_000 },
  async (t) => {
    const { port } = await serve(t);
    const socket = await hold(t, port, '127.0.0.1', 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1_000));
    let answered = '';
    for await (const bytes of socket as AsyncIterable<Buffer>) {
      answered += String(bytes);
      if (answered.split('200 OK').length > 1_000) break;
    }
    t.equal(answered.split('200 OK').length - 1, 1_000);
  },
);

t.test('admin server: close cuts what is held and frees the port', async (t) => {
  const server = new AdminServer(ROUTES);
  const { port } = await server.listen({ address: '127.0.0.1', port: 0 });
  const held = await hold(t, port, '127.0.0.1', 'GET /heal');
  await Promise.all([server.close(), gone(held)]);
  const next = new AdminServer(ROUTES);
  await next.listen({ address: '127.0.0.1', port });
  await next.close();
});

t.test('admin socket: only its owner may use it, and it goes when the server does', async (t) => {
  const path = join(shortFolder(t), 'admin.sock');
  const server = new AdminServer(ROUTES);
  const umask = process.umask();
  await server.listenUnix(path);
  t.equal(process.umask(), umask, 'files made later keep their modes');
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal((await ask({ socketPath: path }, 'PUT', '/level', 'warn')).body, 'got warn\n');
  await server.close();
  t.notOk(existsSync(path));
});

t.test('admin socket: one that a dead process left is replaced', async (t) => {
  const folder = shortFolder(t);
  const path = join(folder, 'admin.sock');
  const program = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', program]);
  t.ok(existsSync(path), 'the socket was left behind');
  const server = new AdminServer(ROUTES);
  await server.listenUnix(path);
  t.equal((await ask({ socketPath: path }, 'GET', '/healthz')).body, 'ok\n');
  await server.close();
});

t.test('admin socket: neither a file nor a socket in use is taken away', async (t) => {
  const folder = shortFolder(t);
  const file = join(folder, 'passwd');
  writeFileSync(file, 'root');
  chmodSync(file, 0o644);
  await t.rejects(new AdminServer(ROUTES).listenUnix(file), {
    name: UserError.name,
    message: /is no socket/,
  });
  t.ok(statSync(file).isFile());

  const path = join(folder, 'admin.sock');
  const other = createServer().listen(path);
  await once(other, 'listening');
  await t.rejects(new AdminServer(ROUTES).listenUnix(path), { message: /in use by another process/ });
  t.ok(existsSync(path));
  other.close();
});

t.test('admin socket: a path that is too long is a clear error', async (t) => {
  const path = join(tmpdir(), 'x'.repeat(120));
  await t.rejects(new AdminServer(ROUTES).listenUnix(path), {
    name: UserError.name,
    message: /at most 107 bytes/,
  });
});
