import type { Container, Probe } from './pod.ts';
import { METRICS_PORT } from '../redirect/ports.ts';

const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
const PATH = /^\/tcp-probe\/(\d{1,5})$/;

/**
 * Leads TCP probes to the sidecar, which dials the port and tells the truth. Redirected, such a probe would always succeed: what accepts it is the
 * proxy. Probes by HTTP and gRPC need an answer of the application's and pass through as they are; those of another host are not ours.
 *
 * @returns the container, and the ports that the sidecar has to dial when asked
 */
export function leadTcpProbes(container: Container): { container: Container; ports: number[] } {
  const ports: number[] = [];
  const changed = { ...container };
  for (const key of PROBES) {
    const probe = container[key];
    const port = probe?.tcpSocket === undefined ? undefined : portNumber(container, probe.tcpSocket.port);
    if (probe === undefined || port === undefined || probe.tcpSocket?.host !== undefined) continue;
    const { tcpSocket: _, ...rest } = probe;
    changed[key] = { ...rest, httpGet: { path: `/tcp-probe/${port}`, port: METRICS_PORT } };
    ports.push(port);
  }
  return { container: ports.length === 0 ? container : changed, ports };
}

/** Undoes {@link leadTcpProbes}; a port that had a name comes back as its number. */
export function restoreTcpProbes(container: Container): Container {
  const changed = { ...container };
  for (const key of PROBES) {
    const probe = container[key];
    const port = probe === undefined ? undefined : ledPort(probe);
    if (probe === undefined || port === undefined) continue;
    const { httpGet: _, ...rest } = probe;
    changed[key] = { ...rest, tcpSocket: { port } };
  }
  return changed;
}

function ledPort({ httpGet }: Probe): number | undefined {
  if (Number(httpGet?.port) !== METRICS_PORT) return undefined;
  const port = Number(PATH.exec(httpGet?.path ?? '')?.[1]);
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** A port by number or by name, as kubelet finds it: among the container's own TCP ports. */
function portNumber(container: Container, port: number | string | object): number | undefined {
  if (typeof port === 'number') return port;
  if (typeof port !== 'string') return undefined;
  return container.ports?.find(({ name, protocol }) => name === port && (protocol ?? 'TCP') === 'TCP')
    ?.containerPort;
}
