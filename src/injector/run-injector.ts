import { kubeObject } from '../authority/kube-access.ts';
import { ServingCertificates } from '../certificates/serving-certificates.ts';
import type { InjectSettings } from '../inject/settings.ts';
import { listenEndpoint } from '../lib/listen-endpoint.ts';
import { type ReplicaFlags, runReplica } from '../run-replica.ts';
import { programVersion } from '../version.ts';
import { AuthorityBundle } from './authority-bundle.ts';
import { Injector } from './injector.ts';

/** The flags of `countersign injector` beside those of its settings, as commander gives them. */
export interface InjectorFlags extends ReplicaFlags {
  readonly names?: string;
  readonly webhookName: string;
}

/** Runs a replica until a signal ends it ({@link runReplica}). Throws a `UserError` for what is wrong with the flags. */
export async function runInjector(flags: InjectorFlags, settings: InjectSettings): Promise<void> {
  const { namespace, webhookName } = flags;
  const listen = listenEndpoint('--listen', flags.listen);
  const names = (flags.names ?? `countersign-injector.${namespace}.svc`)
    .split(',')
    .filter((name) => name !== '');
  return runReplica(flags, ({ client, log }) => {
    const bundle = new AuthorityBundle({ client, namespace, name: settings.caConfigMap });
    const secret = { kind: 'Secret', namespace, name: 'countersign-injector-ca' } as const;
    const onProblem = (problem: string): void =>
      log.warn({ problem }, 'the own certificates cannot be kept up');
    const injector = new Injector({
      client,
      certificates: new ServingCertificates({ object: kubeObject(client, secret), names, onProblem }),
      settings,
      release: programVersion(),
      listen,
      webhookName,
      prepareNamespace: (one) => bundle.bringTo(one),
      keepNamespaces: (all) => bundle.renewAll(all),
      log,
    });
    return {
      replica: injector,
      serving: () => ({ listen: flags.listen }),
      ending: (signal) => log.info(`${signal}: ending`),
    };
  });
}
