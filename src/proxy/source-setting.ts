import { readFileSync } from 'node:fs';
import { messageOf, UserError } from '../errors.ts';
import type { AuthorityLink } from '../authority-client/authority-link.ts';
import type { Curves } from '../lib/curves.ts';
import type { EnforcementMode, Source } from '../sources/source.ts';
import { readOwnGateways } from './own-gateways.ts';

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
  readonly authority?: string;
  readonly authorityCa: string;
  readonly serviceAccountToken: string;
  readonly identityKey?: string;
}

/** The source that the flags ask for, not started. Throws a `UserError`. What the others need is not loaded. */
export async function sourceOf(flags: SourceFlags): Promise<Source> {
  const podCidrs = flags.podCidrs.split(',').filter((cidr) => cidr !== '');
  const of = { pod: flags.pod, mode: flags.enforcement, podCidrs, gateways: readOwnGateways() };
  if (flags.source === 'files') {
    if (flags.manifests === undefined) throw new UserError('--source files needs --manifests');
    const { FilesSource } = await import('../sources/files-source.ts');
    return new FilesSource({ ...of, folder: flags.manifests });
  }
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

/**
 * The link to the authority that `--source authority` asks for, not started: source and identity in one. Throws a `UserError`. The files may come later; that
 * they are missing is told as a problem then.
 */
export async function authorityLinkOf(
  flags: SourceFlags,
  release: string,
  onNews: (news: string) => void,
  curves: Curves,
): Promise<AuthorityLink> {
  const urls = (flags.authority ?? '').split(',').filter((url) => url !== '');
  if (urls.length === 0) throw new UserError('--source authority needs --authority https://HOST:PORT');
  for (const url of urls) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    if (parsed?.protocol !== 'https:' || parsed.pathname !== '/') {
      throw new UserError(`--authority ${url}: write https://HOST:PORT, several separated by commas`);
    }
  }
  const { AuthorityLink } = await import('../authority-client/authority-link.ts');
  const { authorityCa: caFile, serviceAccountToken: tokenFile, identityKey: keyFile } = flags;
  const { pod, enforcement: mode } = flags;
  const gateways = readOwnGateways();
  return new AuthorityLink({
    urls,
    caFile,
    tokenFile,
    keyFile,
    pod,
    mode,
    gateways,
    release,
    onNews,
    curves,
  });
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
