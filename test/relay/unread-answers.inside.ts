/**
 * What a relay holds of answers that nobody reads: `unread-answers.inside.ts CONNECTIONS BYTES`, in a network namespace of its own with small socket buffers. Prints the most bytes that the
 * addon had allocated for them while no client read, and how many answers came whole when they read at last.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';

const [CONNECTIONS, BYTES] = [Number(process.argv[2]), Number(process.argv[3])];
const ANSWER = Buffer.from(Uint32Array.from({ length: BYTES / 4 }, (_, index) => index).buffer);

/** The server and its clients are another process: what they hold is not counted. */
async function others(): Promise<void> {
  const server = createServer((socket) => socket.on('error', () => {}).end(ANSWER));
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () => process.send!(server.address()));
  const [relayPort] = (await once(process, 'message')) as [number];
  const clients: Socket[] = [];
  for (let count = 0; count < CONNECTIONS; count++) {
    const socket = connect({ port: relayPort, host: '127.0.0.1' });
    socket.on('error', () => {}).pause();
    clients.push(socket);
  }
  await once(process, 'message');
  const whole = clients.map(async (socket) => {
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).equals(ANSWER);
  });
  const came = await Promise.allSettled(whole);
  process.send!(came.filter((one) => one.status === 'fulfilled' && one.value).length);
  process.disconnect();
  server.close();
}

async function relay(): Promise<void> {
  const child = fork(import.meta.filename, process.argv.slice(2));
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  const addon = loadAddon();
  const open = new Set<number>();
  const path = new NativeDataPath(addon, {
    accepted: (id) => path.dial(id, { address: '127.0.0.1', port }, { fastOpen: false }),
    dialled: (id) => {
      open.add(id);
      path.relay(id, { guard: false });
    },
    frame: () => {},
    notFrame: () => {},
    frameTooLarge: () => {},
    preamble: () => {},
    closed: () => {},
  });
  const { endpoint } = await path.listen({ role: 'inbound', address: '127.0.0.1', port: 0 });
  const before = addon.memoryInUse();
  child.send(endpoint.port);
  // Until nothing moves any more: neither a new connection nor a byte of one, for a second.
  let [held, last, still] = [0, '', 0];
  while (still < 10) {
    await sleep(100);
    let relayed = 0;
    for (const id of open) relayed += path.progress(id)?.bytesOut ?? 0;
    const seen = `${open.size} ${relayed}`;
    still = seen === last && open.size === CONNECTIONS ? still + 1 : 0;
    last = seen;
    held = Math.max(held, addon.memoryInUse() - before);
  }
  child.send('read');
  const [whole] = (await once(child, 'message')) as [number];
  process.stdout.write(JSON.stringify({ held, whole }));
  await path.close();
}

await (process.send === undefined ? relay() : others());
