import type https from 'node:https';
import { messageOf, UserError } from '../errors.ts';
import type { ApiServer } from './api-client.ts';
import { ApiError } from './api-error.ts';
import type { Credential } from './credential.ts';

/** Which cluster of which kubeconfig; kubectl's own choice where nothing is said. */
export interface ClusterChoice {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

/** An API server and how a kubeconfig gets in. */
export interface KubeconfigConnection {
  readonly server: string;
  readonly options: https.RequestOptions;
}

/**
 * Reads a kubeconfig as kubectl does; credential plugins are run. The library is loaded only here: it costs more memory than the whole sidecar.
 * Throws a `UserError` that names what is missing.
 */
export async function kubeconfigConnection({
  kubeconfig,
  context,
}: ClusterChoice): Promise<KubeconfigConnection> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (error) {
    throw new UserError(`the kubeconfig cannot be read: ${messageOf(error)}`);
  }
  if (context !== undefined) {
    const names = config.getContexts().map((one) => one.name);
    if (!names.includes(context)) {
      throw new UserError(`--context ${context}: the kubeconfig has ${names.join(', ') || 'no context'}`);
    }
    config.setCurrentContext(context);
  }
  const server = config.getCurrentCluster()?.server;
  // Without any kubeconfig the library falls back to this place, where hardly anybody listens.
  if (
    server === undefined ||
    (server === 'http://localhost:8080' && config.getCurrentContext() === 'loaded-context')
  ) {
    throw new UserError(
      'there is no kubeconfig with a current context: name manifests with -f DIR, -f FILE or -f - (standard input), or --kubeconfig and --context',
    );
  }
  const options: https.RequestOptions = {};
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    throw new UserError(`the kubeconfig's credentials for ${server} cannot be had: ${messageOf(error)}`);
  }
  return { server: server.replace(/\/$/, ''), options };
}

/** The same for the long-running client. A token of a credential plugin is had anew when the server refuses it, and every ten minutes. */
export async function kubeconfigServer(choice: ClusterChoice): Promise<ApiServer> {
  const { server, options } = await kubeconfigConnection(choice);
  const { ca, cert, key, rejectUnauthorized, servername } = options as Readonly<{
    ca?: string | Buffer;
    cert?: string | Buffer;
    key?: string | Buffer;
    rejectUnauthorized?: boolean;
    servername?: string;
  }>;
  return {
    url: server,
    ca,
    cert,
    key,
    serverName: servername,
    insecure: rejectUnauthorized === false,
    credential: new KubeconfigCredential(choice, authorizationOf(options)),
  };
}

const KEPT_MS = 600_000;

class KubeconfigCredential implements Credential {
  readonly #choice: ClusterChoice;
  #header: string | undefined;
  #keptUntil: number;

  constructor(choice: ClusterChoice, header: string | undefined) {
    this.#choice = choice;
    this.#header = header;
    this.#keptUntil = performance.now() + KEPT_MS;
  }

  async header(): Promise<string | undefined> {
    if (performance.now() < this.#keptUntil) return this.#header;
    try {
      this.#header = authorizationOf((await kubeconfigConnection(this.#choice)).options);
    } catch (error) {
      throw new ApiError(messageOf(error), { cause: error });
    }
    this.#keptUntil = performance.now() + KEPT_MS;
    return this.#header;
  }

  rejected(): void {
    this.#keptUntil = 0;
  }
}

/** The library writes a token into the headers and a password into `auth`. */
function authorizationOf(options: https.RequestOptions): string | undefined {
  const headers = (options.headers ?? {}) as Record<string, unknown>;
  const { Authorization, authorization = Authorization } = headers;
  if (typeof authorization === 'string') return authorization;
  return typeof options.auth === 'string'
    ? `Basic ${Buffer.from(options.auth).toString('base64')}`
    : undefined;
}
