/**
 * The load of the benchmark, run in a client's network namespace: JSON of what to do as its argument, JSON of what it measured on standard output.
 * The same program drives every variant, so its own cost is in all of them: compare, do not quote.
 */
import { connect, type Socket } from 'node:net';

export interface Load {
  readonly address: string;
  readonly kind: 'connect' | 'rate' | 'ping' | 'bulk';
  readonly count: number;
}

const load = JSON.parse(process.argv[2] ?? '{}') as Load;
const ECHO = 9000;
const SINK = 9001;

/** Connects, sends a byte, waits for one. @returns milliseconds */
function once(): Promise<number> {
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    const socket = connect(ECHO, load.address, () => socket.write('x'));
    socket.setNoDelay(true);
    socket.on('error', reject);
    socket.once('data', () => {
      resolve(performance.now() - begin);
      socket.resetAndDestroy();
    });
  });
}

async function connectTimes(): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < load.count; index++) times.push(await once());
  return median(times);
}

async function rate(): Promise<number> {
  const begin = performance.now();
  let left = load.count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await once();
  };
  await Promise.all(Array.from({ length: 32 }, worker));
  return load.count / ((performance.now() - begin) / 1000);
}

async function ping(): Promise<number> {
  const socket = await opened(ECHO);
  const times: number[] = [];
  for (let index = 0; index < load.count; index++) {
    const begin = performance.now();
    socket.write('x');
    await new Promise((resolve) => socket.once('data', resolve));
    times.push(performance.now() - begin);
  }
  socket.destroy();
  return median(times);
}

/** @returns Gbit/s of `count` MiB on one connection */
async function bulk(): Promise<number> {
  const socket = await opened(SINK);
  const chunk = Buffer.alloc(1 << 20, 7);
  const begin = performance.now();
  for (let index = 0; index < load.count; index++) {
    if (!socket.write(chunk)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  // The sink says a word when it has read to the end.
  const done = new Promise((resolve) => socket.once('data', resolve));
  socket.end();
  await done;
  return (load.count * chunk.length * 8) / 1e6 / (performance.now() - begin);
}

function opened(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: load.address, allowHalfOpen: true }, () => resolve(socket));
    socket.setNoDelay(true);
    socket.on('error', reject);
  });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

const measure = { connect: connectTimes, rate, ping, bulk }[load.kind];
process.stdout.write(`${JSON.stringify(await measure())}\n`);
process.exit();
