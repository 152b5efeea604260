import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { NetConnectOpts } from 'node:net';

/** Where one side listens or connects: a port of the network namespace that it is in, or a unix socket, which all namespaces share. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string };

/** One process: listens here, connects there, moves bytes, keeps half-closes. */
const PROGRAM = `
const net = require('net');
const [from, to] = process.argv.slice(1).map((text) => JSON.parse(text));
net.createServer({ allowHalfOpen: true }, (one) => {
  const other = net.connect({ ...to, allowHalfOpen: true });
  for (const [a, b] of [[one, other], [other, one]]) {
    a.pipe(b);
    a.on('error', () => b.destroy()).on('close', () => b.destroy());
  }
}).listen(from, () => console.log('up'));`;

/** Starts one half in the namespace that `enter` leads to (`['ip', 'netns', 'exec', NAME]`; nothing: this one). Resolves when it listens. */
async function half(enter: readonly string[], from: Place, to: NetConnectOpts): Promise<ChildProcess> {
  const node = [process.execPath, '-e', PROGRAM, JSON.stringify(from), JSON.stringify(to)];
  const command = ['setpriv', '--pdeathsig', 'SIGKILL', ...enter, ...node];
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => {
      throw new Error(`nothing could listen at ${JSON.stringify(from)}`);
    }),
  ]);
  return child;
}

/**
 * Makes what listens at `to` in one namespace reachable at `from` in another, over a unix socket: no interface and no route of the machine changes.
 * @param socket a path that nobody uses
 * @returns the way to end it
 */
export async function relayBetween(
  from: { readonly enter: readonly string[]; readonly at: Place },
  to: { readonly enter: readonly string[]; readonly at: Place },
  socket: string,
): Promise<() => void> {
  const far = await half(to.enter, { path: socket }, to.at);
  const near = await half(from.enter, from.at, { path: socket });
  return () => {
    far.kill('SIGKILL');
    near.kill('SIGKILL');
  };
}
