/**
 * Relays bulk as a user: `small-pipes.inside.ts UID WANTED`, WANTED `true`: until the relay has used a pipe. Prints whether all bytes came, whether a pipe was used, and whether one was refused.
 */
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';

const uid = Number(process.argv[2]);
const mostTimes = process.argv[3] === 'true' ? 50 : 1;
const BYTES = 32 << 20;

function pipes(): number {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the listing's own
    }
  });
  return new Set(links.filter((link) => link.startsWith('pipe:'))).size;
}

const addon = loadAddon();
process.setgid!(uid);
process.setuid!(uid);
let came = 0;
const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('data', (bytes) => (came += bytes.length)).on('end', () => socket.end('done'));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const target = { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
const path = new NativeDataPath(addon, {
  accepted: (id) => path.dial(id, target, { fastOpen: false }),
  dialled: (id) => path.relay(id, { guard: false }),
  frame: () => {},
  notFrame: () => {},
  frameTooLarge: () => {},
  preamble: () => {},
  closed: () => {},
});
const { endpoint } = await path.listen({ role: 'inbound', address: '127.0.0.1', port: 0 });
const before = pipes();
let sent = 0;
for (let time = 0; time < mostTimes && pipes() === before; time++) {
  const socket = connect({ port: endpoint.port, host: '127.0.0.1' });
  socket.end(Buffer.alloc(BYTES, 'x')).resume();
  sent += BYTES;
  await once(socket, 'close');
}
process.stdout.write(
  JSON.stringify({ whole: came === sent, piped: pipes() > before, refused: path.pipesRefused > 0 }),
);
await path.close();
server.close();
