/** Run by native-thread-end.test.ts: Node.js threads that end with a data path open, while it has connections to tell of. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadAddon, ROLES } from '../../src/native.ts';

const THREADS = 10;
const CALLS = 40;

/** Calls and hangs up, again and again, until nobody listens any more. */
async function callUntilRefused(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const went = await new Promise<boolean>((resolve) => {
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    });
    socket.on('error', () => {}).destroy();
    if (!went) return;
  }
}

if (isMainThread) {
  for (let thread = 0; thread < THREADS; thread++) {
    const isEnded = thread % 2 === 1;
    const worker = new Worker(import.meta.filename, { workerData: isEnded ? 'is ended' : 'ends itself' });
    const [port] = (await once(worker, 'message')) as [number];
    const ended = once(worker, 'exit');
    const calling = Array.from({ length: 4 }, () => callUntilRefused(port));
    if (isEnded) await once(worker, 'message').then(() => worker.terminate());
    await Promise.all([...calling, ended]);
  }
  process.stdout.write('all ended\n');
} else {
  const addon = loadAddon();
  let heard = 0;
  const path = addon.start((batch) => {
    heard += batch.length;
    if (heard <= CALLS) return;
    parentPort!.postMessage('busy');
    if (workerData === 'ends itself') process.exit(0);
  });
  const [, port] = addon.listen(path, '127.0.0.1', 0, ROLES.indexOf('inbound'));
  parentPort!.postMessage(port);
}
