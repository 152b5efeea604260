import { Option } from 'commander';

/**
 * A flag with its environment variable: `--metrics <host:port>` is also `COUNTERSIGN_METRICS`. Flags win. This is the only way that
 * the environment reaches the program; the generated reference lists every setting from the same objects.
 */
export function setting(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.env(`COUNTERSIGN_${option.name().toUpperCase().replaceAll('-', '_')}`);
}

/** Where kubelet says that the API server is: it tells every container. undefined outside of a pod. */
export function inClusterApiServer(): string | undefined {
  // eslint-disable-next-line node/no-process-env -- this file is where the environment is read
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env;
  if (host === undefined || host === '') return undefined;
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
