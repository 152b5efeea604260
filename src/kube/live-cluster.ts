import http from 'node:http';
import https from 'node:https';
import { EXIT, UserError } from '../errors.ts';
import { type ClusterChoice, kubeconfigConnection, type KubeconfigConnection } from './kubeconfig.ts';

/** What the policy tools read, with the kind that an item of a list does not say itself. */
const KINDS = [
  { path: '/api/v1/namespaces', apiVersion: 'v1', kind: 'Namespace', optional: false },
  { path: '/api/v1/nodes', apiVersion: 'v1', kind: 'Node', optional: false },
  { path: '/api/v1/pods', apiVersion: 'v1', kind: 'Pod', optional: false },
  {
    path: '/apis/networking.k8s.io/v1/networkpolicies',
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    optional: false,
  },
  ...(
    [
      ['v1alpha2', 'clusternetworkpolicies', 'ClusterNetworkPolicy'],
      ['v1alpha1', 'adminnetworkpolicies', 'AdminNetworkPolicy'],
      ['v1alpha1', 'baselineadminnetworkpolicies', 'BaselineAdminNetworkPolicy'],
    ] as const
  ).map(([version, plural, kind]) => ({
    path: `/apis/policy.networking.k8s.io/${version}/${plural}`,
    apiVersion: `policy.networking.k8s.io/${version}`,
    kind,
    // Custom resources that most clusters do not have.
    optional: true,
  })),
] as const;

const PAGE = 500;
const MOST_BYTES = 512 << 20;
const TIMEOUT_MS = 30_000;

/**
 * Reads everything that policy is about from the API server of a kubeconfig, as raw JSON: the client library's own models rename fields (`from` becomes
 * `_from`), and a rule without `from` would be open to everybody.
 * Throws a `UserError` that names the server and what it would not give.
 */
export async function readLiveCluster(choice: ClusterChoice): Promise<object[]> {
  const request = await kubeconfigConnection(choice);
  const objects: object[] = [];
  for (const { path, apiVersion, kind, optional } of KINDS) {
    for (const item of await list(request, path, kind, optional)) objects.push({ apiVersion, kind, ...item });
  }
  return objects;
}

/** All pages of a list. A list whose continuation has expired is begun anew, once. */
async function list(
  connection: KubeconfigConnection,
  path: string,
  kind: string,
  optional: boolean,
): Promise<readonly object[]> {
  for (let attempt = 1; ; attempt++) {
    const items: object[] = [];
    let next = '';
    for (;;) {
      const query = `?limit=${PAGE}${next === '' ? '' : `&continue=${encodeURIComponent(next)}`}`;
      const { status, body } = await get(connection, path + query);
      if (status === 404 && optional) return [];
      if (status === 410 && attempt === 1) break;
      if (status !== 200) throw refused(connection.server, kind, status, body);
      const page = parsePage(body, connection.server, kind);
      items.push(...page.items);
      next = page.next;
      if (next === '') return items;
    }
  }
}

function parsePage(body: string, server: string, kind: string): { items: object[]; next: string } {
  try {
    const { items, metadata } = JSON.parse(body) as {
      items?: object[] | null;
      metadata?: { continue?: string };
    };
    return { items: items ?? [], next: metadata?.continue ?? '' };
  } catch {
    throw new UserError(`${server} answered a list of ${kind} with something that is no JSON`, {
      exitCode: EXIT.failure,
    });
  }
}

function refused(server: string, kind: string, status: number, body: string): UserError {
  let message = '';
  try {
    const parsed = JSON.parse(body) as { message?: unknown };
    if (typeof parsed.message === 'string') ({ message } = parsed as { message: string });
  } catch {
    // It says nothing that could be repeated.
  }
  const remedy =
    status === 401 || status === 403
      ? `; the user of the kubeconfig needs list on ${kind} in all namespaces`
      : '';
  const said = message === '' ? '' : `: ${message.slice(0, 300)}`;
  return new UserError(`${server} does not list ${kind} (${status})${said}${remedy}`, {
    exitCode: EXIT.failure,
  });
}

function get(
  { server, options }: KubeconfigConnection,
  path: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      reject(
        new UserError(`${server} cannot be reached: ${error.message}`, {
          exitCode: EXIT.failure,
          cause: error,
        }),
      );
    };
    const url = new URL(server + path);
    // A tunnel to the API server may be plain; its connections are not those of the kubeconfig's TLS.
    const plain = url.protocol === 'http:';
    const { agent, ...rest } = options;
    const given = { ...rest, timeout: TIMEOUT_MS, ...(plain || agent === undefined ? {} : { agent }) };
    const request = (plain ? http.request : https.request)(url, given, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > MOST_BYTES) request.destroy(new Error(`more than ${MOST_BYTES} bytes in one answer`));
      });
      response.on('error', fail);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') });
      });
    });
    request.on('timeout', () => request.destroy(new Error(`no answer for ${TIMEOUT_MS / 1000} s`)));
    request.on('error', fail);
    request.end();
  });
}
