import { readFileSync } from 'node:fs';
import { messageOf, UserError } from '../errors.ts';
import type { EnforcementMode, Source } from '../sources/source.ts';

/** The flags that say where pods and policies come from, as commander gives them. */
export interface SourceFlags {
  readonly source: string;
  readonly manifests?: string;
  readonly podCidrs: string;
  readonly pod: string;
  readonly enforcement: EnforcementMode;
  readonly apiServer?: string;
  readonly apiToken: string;
  readonly apiCa: string;
}

/** The source that the flags ask for, not started. Throws a `UserError`. What the others need is not loaded. */
export async function sourceOf(flags: SourceFlags): Promise<Source> {
  const podCidrs = flags.podCidrs.split(',').filter((cidr) => cidr !== '');
  const of = { pod: flags.pod, mode: flags.enforcement, podCidrs };
  if (flags.source === 'files') {
    if (flags.manifests === undefined) throw new UserError('--source files needs --manifests');
    const { FilesSource } = await import('../sources/files-source.ts');
    return new FilesSource({ ...of, folder: flags.manifests });
  }
  if (flags.source !== 'kubernetes')
    throw new UserError(`--source ${flags.source} is not built yet; --source files and kubernetes are`);
  const url = apiServerUrl(flags.apiServer);
  for (const [flag, file] of [
    ['--api-token', flags.apiToken],
    ['--api-ca', flags.apiCa],
  ] as const) {
    readable(flag, file);
  }
  const [{ KubernetesSource }, { TokenFile }] = await Promise.all([
    import('../sources/kubernetes-source.ts'),
    import('../kube/credential.ts'),
  ]);
  const server = { url, caFile: flags.apiCa, credential: new TokenFile(flags.apiToken) };
  return new KubernetesSource({ ...of, server });
}

function apiServerUrl(given: string | undefined): string {
  if (given === undefined) {
    throw new UserError(
      '--source kubernetes needs --api-server: in a pod kubelet tells it by KUBERNETES_SERVICE_HOST, which is not set here',
    );
  }
  let url: URL | undefined;
  try {
    url = new URL(given);
  } catch {
    // Told below.
  }
  // Plain HTTP would give the token to everybody on the way.
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.search !== '') {
    throw new UserError(`--api-server ${given}: write https://HOST:PORT`);
  }
  return url.origin;
}

/** That a file is missing is told at the start, where a person may be looking; later the source waits for it. */
function readable(flag: string, file: string): void {
  try {
    readFileSync(file);
  } catch (error) {
    throw new UserError(
      `${flag} ${file}: ${messageOf(error)}; the pod needs a service account whose token is mounted (automountServiceAccountToken)`,
      { cause: error },
    );
  }
}
