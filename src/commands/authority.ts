import { Command } from 'commander';
import { inClusterApiServer, setting } from '../config.ts';
import { TOKEN_AUDIENCE } from '../authority-protocol/limits.ts';
import type { AuthorityFlags } from '../authority/run-authority.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** `countersign authority`. */
export function authorityCommand(): Command {
  return new Command('authority')
    .description(
      'run a replica of the authority: signs identities for pods that prove who they are, and tells sidecars what concerns them',
    )
    .addOption(setting('--trust-domain <name>', 'name of the trust domain').default('cluster.local'))
    .addOption(setting('--listen <host:port>', 'where sidecars connect').default('[::]:14443'))
    .addOption(
      setting(
        '--names <list>',
        'names and addresses under which sidecars reach it, separated by commas',
      ).default('countersign-authority.countersign-system.svc'),
    )
    .addOption(
      setting('--namespace <name>', 'where its keys, certificates and records are kept').default(
        'countersign-system',
      ),
    )
    .addOption(
      setting('--sidecar-container <name>', 'name of the container that a pod has to carry').default(
        'countersign-proxy',
      ),
    )
    .addOption(
      setting(
        '--sidecar-image <name>',
        'image of that container, of any tag and digest; a name that ends with / means all below it, none any image',
      ).default(''),
    )
    .addOption(
      setting('--audience <name>', "audience of the sidecars' service-account token").default(TOKEN_AUDIENCE),
    )
    .addOption(
      setting(
        '--ca-configmap <name>',
        'ConfigMap that it keeps in its namespace, with the certificates by which it is believed',
      ).default('countersign-ca'),
    )
    .addOption(
      setting('--identity-ttl <seconds>', 'how long identities live, at most 86400').default('14400'),
    )
    .addOption(setting('--renew-after <seconds>', 'when sidecars renew them').default('1200'))
    .addOption(
      setting(
        '--federation <file>',
        'other trust domains that are believed, and for whom their pods are taken; followed. docs/federation.md',
      ),
    )
    .addOption(
      setting(
        '--ca-file <file>',
        'where to write the certificates by which it is believed, PEM; kept up to date',
      ),
    )
    .addOption(
      setting('--metrics <host:port>', 'where /metrics, /healthz and /readyz are served').default(
        '[::]:14020',
      ),
    )
    .addOption(
      setting('--api-server <url>', 'the API server; in a pod kubelet tells it').default(
        inClusterApiServer(),
        'https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT',
      ),
    )
    .addOption(
      setting('--api-token <file>', 'token for the API server, read again as it is renewed').default(
        `${SERVICE_ACCOUNT}/token`,
      ),
    )
    .addOption(
      setting('--api-ca <file>', "authority of the API server's certificate").default(
        `${SERVICE_ACCOUNT}/ca.crt`,
      ),
    )
    .addOption(
      setting('--drain <seconds>', 'how long sidecars have to go elsewhere after SIGTERM').default('5'),
    )
    .addOption(
      setting('--log-level <level>', 'debug, info, warn or error')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .action(async (flags: AuthorityFlags) => {
      const { runAuthority } = await import('../authority/run-authority.ts');
      await runAuthority(flags);
    });
}
