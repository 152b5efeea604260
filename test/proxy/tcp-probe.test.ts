import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import t from 'tap';
import { tcpProbeRoutes } from '../../src/proxy/tcp-probe.ts';

t.test('TCP probe: tells whether the application accepts, and dials no other port', async (t) => {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const routes = tcpProbeRoutes(String(port), () => '127.0.0.1');
  t.strictSame(Object.keys(routes), [`GET /tcp-probe/${port}`]);
  const ask = async () => (await routes[`GET /tcp-probe/${port}`]!('', '')).status;
  t.equal(await ask(), 200);
  server.close();
  await once(server, 'close');
  t.equal(await ask(), 503, 'nobody accepts any more');
  const unknown = tcpProbeRoutes(String(port), () => undefined);
  t.equal((await unknown[`GET /tcp-probe/${port}`]!('', '')).status, 503, 'before the own address is known');
});

t.test('TCP probe: ports that are none are refused', (t) => {
  for (const ports of ['0', '65536', '80,x', '80;90', Array.from({ length: 65 }, () => '80').join(',')])
    t.throws(() => tcpProbeRoutes(ports, () => undefined), { message: /--tcp-probes/ }, ports);
  t.strictSame(
    tcpProbeRoutes('', () => undefined),
    {},
  );
  t.end();
});
