import { connect, createServer, type Server } from 'node:net';
import type { Endpoint } from '../lib/address.ts';
import type { ProbeArrivals } from './probe-arrivals.ts';
import { INBOUND_FILTER_PROBE_PORT, OUTBOUND_FILTER_PROBE_PORT, REDIRECT_PROBE_PORT } from './ports.ts';

/** What a live test of one family and direction showed. */
export interface ProbeResult {
  readonly family: 4 | 6;
  readonly direction: 'inbound' | 'outbound';
  readonly inForce: boolean;
  /** What happened instead. */
  readonly detail: string;
}

const TIMEOUT_MS = 2_000;
const LOOPBACK = { 4: '127.0.0.1', 6: '::1' } as const;

/**
 * Tests without any privilege that the rules are in force. Each test goes through the very rule that does the work, the last of its
 * chain, and not through one made for the test:
 *
 * - outbound redirection: a call to a port of loopback comes out at the proxy's own outbound listener;
 * - the filters of both directions: a call to a port of loopback is refused although somebody listens there.
 *
 * That the inbound redirection is there cannot be tried from inside: local calls do not pass it. Without it the inbound filter refuses
 * everything, so that nothing gets in unproven, or at all.
 * @param arrivals what the outbound listener saw. Without it, any answer but a refusal counts as redirected, also that of a program
 * which happens to listen on the port of the test
 */
export async function probeRedirect(
  families: readonly (4 | 6)[],
  arrivals?: ProbeArrivals,
): Promise<ProbeResult[]> {
  const results = families.flatMap((family) => [probeOutbound(family, arrivals), probeInbound(family)]);
  return Promise.all(results);
}

/** Whether an accepted connection is such a test, by its original destination. */
export function isProbe(original: Endpoint | undefined): boolean {
  return (
    original !== undefined &&
    original.port === REDIRECT_PROBE_PORT &&
    (original.address === LOOPBACK[4] || original.address === LOOPBACK[6])
  );
}

async function probeOutbound(family: 4 | 6, arrivals: ProbeArrivals | undefined): Promise<ProbeResult> {
  const [redirected, filtered] = await Promise.all([
    probeRedirection(family, arrivals),
    probeFilter(family, OUTBOUND_FILTER_PROBE_PORT),
  ]);
  const lost = [redirected, filtered].filter((detail) => detail !== undefined);
  return {
    family,
    direction: 'outbound',
    inForce: lost.length === 0,
    detail: lost.length === 0 ? 'redirected and filtered' : lost.join(', '),
  };
}

async function probeInbound(family: 4 | 6): Promise<ProbeResult> {
  const lost = await probeFilter(family, INBOUND_FILTER_PROBE_PORT);
  return { family, direction: 'inbound', inForce: lost === undefined, detail: lost ?? 'filtered' };
}

async function probeRedirection(
  family: 4 | 6,
  arrivals: ProbeArrivals | undefined,
): Promise<string | undefined> {
  const before = arrivals?.count(family) ?? 0;
  const outcome = await tryConnect(LOOPBACK[family], REDIRECT_PROBE_PORT);
  // The listener resets a test at once, so that a reset connection is a good sign and a refused one is not.
  if (outcome !== 'connected' && outcome !== 'ECONNRESET') return `not redirected: ${outcome}`;
  if (arrivals === undefined || (await arrivals.reached(family, before + 1, TIMEOUT_MS))) return undefined;
  return 'not redirected: another program answers';
}

/** @returns what shows that the filter is not there */
async function probeFilter(family: 4 | 6, port: number): Promise<string | undefined> {
  const server = await listen(LOOPBACK[family], port);
  const outcome = await tryConnect(LOOPBACK[family], port);
  server?.close();
  return outcome === 'ECONNREFUSED' ? undefined : `not filtered: ${outcome}`;
}

/** Nobody may listen: another one does, and serves the test as well. */
function listen(host: string, port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', () => resolve(undefined));
    server.listen({ host, port }, () => resolve(server));
  });
}

function tryConnect(host: string, port: number, timeoutMs = TIMEOUT_MS): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (how: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(how);
    };
    const timer = setTimeout(() => done('ETIMEDOUT'), timeoutMs);
    socket.once('connect', () => done('connected'));
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
  });
}
