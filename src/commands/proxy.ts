import { Command } from 'commander';
import { inClusterApiServer, setting } from '../config.ts';
import { DEFAULT_MARK_MASK } from '../nfqueue/marks.ts';
import { DEFAULT_QUEUES } from '../nfqueue/queue-numbers.ts';
import { METRICS_PORT } from '../redirect/ports.ts';
import type { SidecarFlags } from '../proxy/sidecar-settings.ts';

/** `countersign proxy`: the sidecar. */
export function proxyCommand(): Command {
  return new Command('proxy')
    .description(
      "run the sidecar of a pod: proves and polices its connections, which 'countersign redirect apply' leads here",
    )
    .addOption(
      setting('--source <kind>', 'where pods and policies come from')
        .choices(['files', 'kubernetes', 'authority'])
        .default('files'),
    )
    .addOption(
      setting('--manifests <dir>', 'files: folder of YAML or JSON as kubectl get prints it, followed'),
    )
    .addOption(
      setting(
        '--pod-cidrs <networks>',
        'the pod network, where no Node tells it, separated by commas',
      ).default(''),
    )
    .addOption(
      setting('--api-server <url>', 'kubernetes: the API server; in a pod kubelet tells it').default(
        inClusterApiServer(),
        'https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT',
      ),
    )
    .addOption(
      setting(
        '--api-token <file>',
        'kubernetes: token for the API server, read again as it is renewed',
      ).default('/var/run/secrets/kubernetes.io/serviceaccount/token'),
    )
    .addOption(
      setting('--api-ca <file>', "kubernetes: authority of the API server's certificate").default(
        '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
      ),
    )
    .addOption(
      setting('--authority <urls>', 'authority: where it is, https://HOST:PORT; several separated by commas'),
    )
    .addOption(
      setting(
        '--authority-ca <file>',
        'authority: certificates by which it is believed, PEM, read again as they are renewed',
      ).default('/var/run/secrets/countersign/ca/ca.pem'),
    )
    .addOption(
      setting(
        '--service-account-token <file>',
        'authority: service-account token for the audience countersign-authority',
      ).default('/var/run/secrets/countersign/token/token'),
    )
    .addOption(
      setting(
        '--identity-key <file>',
        'authority: file in memory (tmpfs) that keeps the own key over restarts; without it each has a new one, which ends what the former had proven',
      ),
    )
    .addOption(setting('--pod <namespace/name>', 'the pod that this is the sidecar of').makeOptionMandatory())
    .addOption(
      setting(
        '--identity <kind>',
        'token: signed by an issuer; psk: a pre-shared secret; pki: an X.509 certificate of the pod, labels from the source',
      )
        .choices(['token', 'psk', 'pki'])
        .default('token'),
    )
    .addOption(setting('--token <file>', 'token: the identity, read again when it changes'))
    .addOption(
      setting(
        '--key <file>',
        'token: the private key that the token names; pki: that of the certificate, unless it stands in the same file',
      ),
    )
    .addOption(
      setting(
        '--trust <file>',
        'token: trust bundle with the issuer keys to accept; pki: the root certificates to accept, PEM',
      ),
    )
    .addOption(
      setting(
        '--certificate <file>',
        "pki: the pod's certificate and the authorities above it, PEM, read again when it changes",
      ),
    )
    .addOption(setting('--trust-domain <name>', 'pki: trust domain of the SPIFFE IDs in certificates'))
    .addOption(setting('--psk <file>', "psk: the secret, from 'countersign identity psk'"))
    .addOption(
      setting(
        '--mode <mode>',
        "how identity travels; nfqueue: on the packets of TCP's handshake, needs NET_ADMIN and NET_RAW",
      )
        .choices(['redirect', 'nfqueue'])
        .default('redirect'),
    )
    .addOption(
      setting('--first-queue <number>', 'nfqueue: number of the first queue').default(
        String(DEFAULT_QUEUES.first),
      ),
    )
    .addOption(
      setting('--queues <count>', 'nfqueue: how many queues there are').default(String(DEFAULT_QUEUES.count)),
    )
    .addOption(
      setting('--mark-mask <mask>', 'nfqueue: eight bits of the marks, for countersign alone').default(
        `0x${DEFAULT_MARK_MASK.toString(16).padStart(8, '0')}`,
      ),
    )
    .addOption(
      setting(
        '--flow-state <file>',
        'nfqueue: file in memory (tmpfs) with the verified connections; without it a restart cuts them',
      ),
    )
    .addOption(
      setting('--enforcement <mode>', 'enforce: refuse what policy denies; audit: record it as would_deny')
        .choices(['enforce', 'audit'])
        .default('enforce'),
    )
    .addOption(
      setting('--node-traffic <which>', 'what the own node may reach unproven')
        .choices(['probes', 'all', 'none'])
        .default('probes'),
    )
    .addOption(
      setting(
        '--keep-source-address',
        "the application sees the client's address; needs NET_ADMIN or NET_RAW, and 'redirect apply' with the same flag",
      ),
    )
    .addOption(
      setting('--metrics <host:port>', 'where /metrics, /healthz and /readyz are served').default(
        `[::]:${METRICS_PORT}`,
      ),
    )
    .addOption(
      setting('--admin-socket <path>', 'unix socket for status and log level; by default there is none'),
    )
    .addOption(setting('--flow-log <file>', 'flow records, one JSON line each; - is standard output'))
    .addOption(
      setting('--log-level <level>', 'debug, info, warn or error')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .addOption(
      setting(
        '--max-connections <count>',
        'how many connections may be open at once, three quarters of them from one source; by default what the memory limit has room for',
      ),
    )
    .addOption(setting('--drain <seconds>', 'how long open connections may last after SIGTERM').default('25'))
    .addOption(
      setting(
        '--tcp-probes <ports>',
        'ports of the application that /tcp-probe/PORT tells kubelet about; injection sets it',
      ).default(''),
    )
    .addOption(
      setting(
        '--redirect-probe-interval <seconds>',
        'how often it is tested that redirection is in force',
      ).default('10'),
    )
    .action(async (flags: SidecarFlags) => {
      const { runSidecar } = await import('../proxy/sidecar.ts');
      await runSidecar(flags);
    });
}
