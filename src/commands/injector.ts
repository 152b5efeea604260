import { Command } from 'commander';
import { inClusterApiServer, setting } from '../config.ts';
import type { InjectorFlags } from '../injector/run-injector.ts';
import { NAME, PORTS } from '../install/options.ts';
import { type InjectFlags, injectSettingsFlags, injectSettingsOf } from './inject-settings.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** `countersign injector`. */
export function injectorCommand(): Command {
  const command = new Command('injector')
    .description('run a replica of the injector: the webhook that puts sidecars into pods')
    .addOption(
      setting('--namespace <name>', 'where it runs and keeps its certificates').default('countersign-system'),
    )
    .addOption(
      setting(
        '--names <list>',
        'names under which the API server reaches it; by default those of its Service',
      ),
    )
    .addOption(
      setting('--webhook-name <name>', 'of the webhook configurations that it keeps up').default(NAME),
    )
    .addOption(
      setting('--listen <host:port>', 'where the API server connects').default(`[::]:${PORTS.injector}`),
    )
    .addOption(
      setting('--metrics <host:port>', 'where /metrics, /healthz and /readyz are served').default(
        `[::]:${PORTS.metrics}`,
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
      setting('--log-level <level>', "of the injector's own log")
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    );
  return injectSettingsFlags(command).action(async (flags: InjectorFlags & InjectFlags) => {
    const settings = injectSettingsOf(flags);
    const { runInjector } = await import('../injector/run-injector.ts');
    await runInjector(flags, settings);
  });
}
