import { connect } from 'node:net';
import { UserError } from '../errors.ts';
import { type Routes, text } from '../observe/admin-server.ts';

const PATIENCE_MS = 5_000;
const MOST_PORTS = 64;

/**
 * Routes that answer for the application whether it accepts on a port: `GET /tcp-probe/5432`. Injection leads TCP probes here,
 * since redirected ones would be accepted by the proxy and prove nothing. Only ports that the pod's own probes name are dialled, and
 * nothing is sent, so that the answer tells no more than kubelet could find out.
 *
 * @param ports as the flag gives them: `5432,6379`
 * @param ownAddress the pod's address, where kubelet would dial; undefined as long as it is not known
 * @throws UserError
 */
export function tcpProbeRoutes(ports: string, ownAddress: () => string | undefined): Routes {
  const numbers = ports === '' ? [] : ports.split(',').map(Number);
  const wrong = numbers.find((port) => !Number.isInteger(port) || port < 1 || port > 65_535);
  if (wrong !== undefined || numbers.length > MOST_PORTS)
    throw new UserError(`--tcp-probes ${ports}: write at most ${MOST_PORTS} ports, separated by commas`);
  return Object.fromEntries(
    numbers.map((port) => [
      `GET /tcp-probe/${port}`,
      async () => {
        const address = ownAddress();
        if (address === undefined) return text(503, "the pod's own address is not known yet\n");
        const error = await dial(address, port);
        return error === undefined ? text(200, 'ok\n') : text(503, `${error}\n`);
      },
    ]),
  );
}

/** @returns what went wrong; undefined when the port accepts */
function dial(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (error?: string): void => {
      socket.destroy();
      resolve(error);
    };
    socket.setTimeout(PATIENCE_MS, () => end('no answer'));
    socket.once('connect', () => end());
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'));
  });
}
