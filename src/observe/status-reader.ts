import { request } from 'node:http';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { printable } from '../lib/printable.ts';

const MOST_BYTES = 4 << 20;
const ANSWER_MS = 5_000;

/** What `GET /status` of an admin socket answers. Throws a `UserError` that names the socket and the remedy. */
export async function readStatus(socketPath: string): Promise<Record<string, unknown>> {
  let body: string;
  try {
    body = await get(socketPath);
  } catch (error) {
    const remedy =
      'name a pod of a cluster (countersign status NAMESPACE/POD), or run it here as the user of the sidecar and with its --admin-socket';
    throw new UserError(`${socketPath}: ${messageOf(error)}; ${remedy}`, { exitCode: EXIT.failure });
  }
  try {
    const status: unknown = JSON.parse(body);
    if (typeof status === 'object' && status !== null) return status as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw new UserError(`${socketPath}: answers with something that is no status`, { exitCode: EXIT.failure });
}

/** The status in lines for people. Every text in it may come from others. */
export function statusText(status: Readonly<Record<string, unknown>>, nowMs: number): string {
  const part = (name: string): Record<string, unknown> => (status[name] ?? {}) as Record<string, unknown>;
  const [identity, source, limit] = [part('identity'), part('source'), part('connectionLimit')];
  const seconds = (value: unknown): string =>
    typeof value === 'number' ? inTime(value * 1000 - nowMs) : 'none';
  const asOf = source['confirmed'] ?? source['taken'];
  const redirect = (status['redirect'] ?? []) as readonly Record<string, unknown>[];
  const policies = (status['policies'] ?? []) as readonly unknown[];
  const labels = Object.entries((identity['labels'] ?? {}) as Record<string, unknown>);
  const lines: [string, string][] = [
    ['pod', show(status['pod'])],
    ['ready', status['ready'] === true ? 'yes' : `no: ${show(status['conditions'])}`],
    ['mode', show(status['mode'] ?? 'none yet')],
    ['identity', identity['trustDomain'] === undefined ? 'none' : `of ${show(identity['trustDomain'])}`],
    ['labels', labels.map(([key, value]) => `${key}=${show(value)}`).join(', ') || 'none'],
    ['identity ends', seconds(identity['expires'])],
    ['source', `${show(source['kind'])}${connection(source['connected'])}`],
    ['policy as of', typeof asOf === 'string' ? inTime(Date.parse(asOf) - nowMs) : 'none yet'],
    ['policies', policies.map(show).join(', ') || 'none'],
    [
      'connections',
      `${show(limit['held'] ?? status['connections'] ?? 0)}${limit['most'] === undefined ? '' : ` of at most ${show(limit['most'])}`}`,
    ],
    [
      'redirection',
      redirect
        .map(
          (one) =>
            `IPv${show(one['family'])} ${show(one['direction'])} ${one['inForce'] === true ? 'in force' : 'NOT IN FORCE'}`,
        )
        .join(', ') || 'not tested yet',
    ],
  ];
  for (const one of (status['federation'] ?? []) as readonly Record<string, unknown>[]) {
    const namespaces = Object.entries((one['namespaces'] ?? {}) as Record<string, unknown>);
    const mapped = namespaces.map(([name, as]) => `${name} as ${show(as)}`).join(', ');
    const until = typeof one['validUntil'] === 'number' ? `, keys end ${seconds(one['validUntil'])}` : '';
    const state =
      one['believed'] === true ? `believed for ${mapped}${until}` : 'NOT BELIEVED: no keys or no namespaces';
    lines.push(['federated', `${show(one['trustDomain'])} ${state}`]);
  }
  const problem = identity['problem'];
  if (problem !== null && problem !== undefined) lines.push(['problem', show(problem)]);
  for (const one of (status['problems'] ?? []) as readonly unknown[]) lines.push(['problem', show(one)]);
  return lines.map(([name, value]) => `${name.padEnd(15)}${printable(value, 500)}\n`).join('');
}

function connection(connected: unknown): string {
  return connected === undefined ? '' : connected === true ? ', connected' : ', NOT CONNECTED';
}

function show(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

function inTime(ms: number): string {
  const minutes = Math.round(Math.abs(ms) / 60_000);
  const span =
    minutes >= 120
      ? `${Math.floor(minutes / 60)} h ${minutes % 60} min`
      : minutes >= 2
        ? `${minutes} min`
        : `${Math.round(Math.abs(ms) / 1000)} s`;
  return ms >= 0 ? `in ${span}` : `${span} ago`;
}

function get(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/status', timeout: ANSWER_MS }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MOST_BYTES) asked.destroy(new Error(`more than ${MOST_BYTES} bytes`));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        const body = Buffer.concat(chunks).toString('utf8');
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`HTTP ${response.statusCode}`));
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${ANSWER_MS / 1000} s`)));
    asked.on('error', reject);
    asked.end();
  });
}
