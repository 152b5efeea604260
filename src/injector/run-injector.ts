import { setTimeout as sleep } from 'node:timers/promises';
import { ServingCertificates } from '../certificates/serving-certificates.ts';
import { kubeObject } from '../authority/kube-access.ts';
import { EXIT, messageOf, UserError } from '../errors.ts';
import type { InjectSettings } from '../inject/settings.ts';
import { listenEndpoint } from '../lib/listen-endpoint.ts';
import { untilSignal } from '../until-signal.ts';
import { ApiClient } from '../kube/api-client.ts';
import { TokenFile } from '../kube/credential.ts';
import { AdminServer, type Routes, text } from '../observe/admin-server.ts';
import { createLog, type LogLevel } from '../observe/log.ts';
import { programVersion } from '../version.ts';
import { AuthorityBundle } from './authority-bundle.ts';
import { Injector } from './injector.ts';

/** The flags of `countersign injector` beside those of its settings, as commander gives them. */
export interface InjectorFlags {
  readonly namespace: string;
  readonly names?: string;
  readonly webhookName: string;
  readonly listen: string;
  readonly metrics: string;
  readonly apiServer?: string;
  readonly apiToken: string;
  readonly apiCa: string;
  readonly logLevel: LogLevel;
}

const RETRY_MS = 2_000;
const RENEW_MS = 60_000;

/** Runs a replica until a signal ends it. What the API server does not give yet is waited for, and told; what is wrong with the flags is thrown. */
export async function runInjector(flags: InjectorFlags, settings: InjectSettings): Promise<void> {
  const [listen, metrics] = [
    listenEndpoint('--listen', flags.listen),
    listenEndpoint('--metrics', flags.metrics),
  ];
  if (flags.apiServer === undefined || !flags.apiServer.startsWith('https://'))
    throw new UserError('--api-server: write https://HOST:PORT; in a pod kubelet tells it');
  const names = (flags.names ?? `countersign-injector.${flags.namespace}.svc`)
    .split(',')
    .filter((name) => name !== '');
  const log = createLog(flags.logLevel);
  const signal = untilSignal();
  const client = new ApiClient({
    url: flags.apiServer,
    caFile: flags.apiCa,
    credential: new TokenFile(flags.apiToken),
  });
  const bundle = new AuthorityBundle({
    client,
    namespace: flags.namespace,
    name: settings.caConfigMap,
    webhookName: flags.webhookName,
  });
  const secret = { kind: 'Secret', namespace: flags.namespace, name: 'countersign-injector-ca' } as const;
  const onProblem = (problem: string): void =>
    log.warn({ problem }, 'the own certificates cannot be kept up');
  const injector = new Injector({
    client,
    certificates: new ServingCertificates({ object: kubeObject(client, secret), names, onProblem }),
    settings,
    release: programVersion(),
    listen,
    webhookName: flags.webhookName,
    prepareNamespace: (namespace) => bundle.bringTo(namespace),
    log,
  });
  let starting: string | undefined = 'starting';
  const routes: Routes = {
    'GET /metrics': async () => ({ status: 200, ...(await injector.metrics.text()) }),
    'GET /healthz': () => text(200, 'ok\n'),
    'GET /readyz': () => {
      const missing = starting ?? injector.problem;
      return missing === undefined ? text(200, 'ready\n') : text(503, `${missing}\n`);
    },
  };
  const health = new AdminServer(routes, (err) => log.error({ err }, 'a request failed because of a defect'));
  await health.listen(metrics);
  const stop = new AbortController();
  void signal.then(() => stop.abort());
  while (!stop.signal.aborted && starting !== undefined) {
    try {
      await injector.start();
      starting = undefined;
    } catch (error) {
      // A port that is taken does not come free by waiting; an API server comes back.
      if ((error as NodeJS.ErrnoException).syscall === 'listen')
        throw new UserError(`--listen ${flags.listen}: ${messageOf(error)}`, { exitCode: EXIT.failure });
      starting = messageOf(error);
      log.warn({ problem: starting }, 'cannot start yet');
      await Promise.race([sleep(RETRY_MS), signal]);
    }
  }
  log.info({ listen: flags.listen }, 'serving');
  const timer = setInterval(() => {
    bundle
      .renewAll()
      .catch((error: unknown) =>
        log.warn({ problem: messageOf(error) }, 'the copies of the certificates cannot be kept up'),
      );
  }, RENEW_MS);
  log.info(`${await signal}: ending`);
  clearInterval(timer);
  await injector.close();
  await health.close();
  await client.close();
}
