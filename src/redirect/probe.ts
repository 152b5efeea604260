import { connect } from 'node:net';
import type { Endpoint } from '../lib/address.ts';
import { FILTER_PROBE_PORT, REDIRECT_PROBE_PORT } from './ports.ts';

/** What a live test of one family and direction showed. */
export interface ProbeResult {
  readonly family: 4 | 6;
  readonly direction: 'inbound' | 'outbound';
  readonly inForce: boolean;
  /** What happened instead. */
  readonly detail: string;
}

const TIMEOUT_MS = 2_000;
/** A port of loopback where nobody listens refuses before connect() has returned; after so long it was the filter that kept silent. */
const SILENCE_MS = 60;
const LOOPBACK = { 4: '127.0.0.1', 6: '::1' } as const;

/**
 * Tests without any privilege that the rules are in force, by connections that behave otherwise when they are not.
 *
 * Outbound: a call to a port of loopback where nobody listens comes out of the last rule, the one that takes the pod's calls, and so
 * reaches the proxy's own listener. Inbound: the filter that drops what was not redirected drops calls to another port of loopback, which would be
 * refused without it. That the inbound redirection itself is there cannot be tried from inside: local calls do not pass it. Without it the filter
 * refuses everything, so nothing gets in unproven.
 */
export async function probeRedirect(families: readonly (4 | 6)[]): Promise<ProbeResult[]> {
  const results = families.flatMap((family) => [probeOutbound(family), probeInbound(family)]);
  return Promise.all(results);
}

/** Whether an accepted connection is such a test. */
export function isProbe(original: Endpoint | undefined): boolean {
  return (
    original !== undefined &&
    original.port === REDIRECT_PROBE_PORT &&
    (original.address === LOOPBACK[4] || original.address === LOOPBACK[6])
  );
}

async function probeOutbound(family: 4 | 6): Promise<ProbeResult> {
  const error = await tryConnect(LOOPBACK[family], REDIRECT_PROBE_PORT);
  // The listener resets a test at once, so that a reset connection is a good sign and a refused one is not.
  const inForce = error === 'connected' || error === 'ECONNRESET';
  return {
    family,
    direction: 'outbound',
    inForce,
    detail: inForce ? 'redirected' : `not redirected: ${error}`,
  };
}

async function probeInbound(family: 4 | 6): Promise<ProbeResult> {
  const error = await tryConnect(LOOPBACK[family], FILTER_PROBE_PORT, SILENCE_MS);
  const inForce = error === 'ETIMEDOUT';
  return { family, direction: 'inbound', inForce, detail: inForce ? 'filtered' : `not filtered: ${error}` };
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
