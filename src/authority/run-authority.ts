import { renameSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { listenEndpoint } from '../lib/listen-endpoint.ts';
import { untilSignal } from '../until-signal.ts';
import { isTrustDomain } from '../identity/claims.ts';
import { ApiClient } from '../kube/api-client.ts';
import { TokenFile } from '../kube/credential.ts';
import { formatEndpoint } from '../lib/address.ts';
import { AdminServer, type Routes, text } from '../observe/admin-server.ts';
import { createLog, type LogLevel } from '../observe/log.ts';
import { programVersion } from '../version.ts';
import { Authority } from './authority.ts';

/** The flags of `countersign authority`, as commander gives them. */
export interface AuthorityFlags {
  readonly trustDomain: string;
  readonly listen: string;
  readonly names: string;
  readonly namespace: string;
  readonly sidecarContainer: string;
  readonly sidecarImage: string;
  readonly audience: string;
  readonly caConfigmap: string;
  readonly identityTtl: string;
  readonly renewAfter: string;
  readonly federation?: string;
  readonly caFile?: string;
  readonly metrics: string;
  readonly apiServer?: string;
  readonly apiToken: string;
  readonly apiCa: string;
  readonly drain: string;
  readonly logLevel: LogLevel;
}

const RETRY_MS = 2_000;

/** Runs a replica until a signal ends it. What the API server does not give yet is waited for, and told; what is wrong with the flags is thrown. */
export async function runAuthority(flags: AuthorityFlags): Promise<void> {
  const ttl = seconds('--identity-ttl', flags.identityTtl, 60, 86_400);
  const renewAfter = seconds('--renew-after', flags.renewAfter, 1, ttl - 1);
  const drainMs = seconds('--drain', flags.drain, 0, 3_600) * 1000;
  const [listen, metrics] = [
    listenEndpoint('--listen', flags.listen),
    listenEndpoint('--metrics', flags.metrics),
  ];
  const names = flags.names.split(',').filter((name) => name !== '');
  if (names.length === 0) throw new UserError('--names: name at least one');
  if (!isTrustDomain(flags.trustDomain)) {
    throw new UserError(`--trust-domain ${flags.trustDomain}: write a name like cluster.local`);
  }
  if (flags.apiServer === undefined || !flags.apiServer.startsWith('https://')) {
    throw new UserError('--api-server: write https://HOST:PORT; in a pod kubelet tells it');
  }
  const log = createLog(flags.logLevel);
  const signal = untilSignal();
  const client = new ApiClient({
    url: flags.apiServer,
    caFile: flags.apiCa,
    credential: new TokenFile(flags.apiToken),
  });
  const authority = new Authority({
    client,
    namespace: flags.namespace,
    trustDomain: flags.trustDomain,
    names,
    listen,
    sidecar: { container: flags.sidecarContainer, image: flags.sidecarImage },
    audience: flags.audience,
    caConfigMap: flags.caConfigmap,
    ttl,
    renewAfter,
    federationFile: flags.federation,
    release: programVersion(),
    log,
  });
  let starting: string | undefined = 'starting';
  const problem = (): string | undefined => starting ?? authority.problem;
  const routes: Routes = {
    'GET /metrics': async () => ({ status: 200, ...(await authority.metrics.text()) }),
    'GET /healthz': () => text(200, 'ok\n'),
    'GET /readyz': () => {
      const missing = problem();
      return missing === undefined ? text(200, 'ready\n') : text(503, `${missing}\n`);
    },
  };
  const health = new AdminServer(routes, (err) => log.error({ err }, 'a request failed because of a defect'));
  await health.listen(metrics);
  const stop = new AbortController();
  void signal.then(() => stop.abort());
  while (!stop.signal.aborted && starting !== undefined) {
    try {
      await authority.start();
      starting = undefined;
    } catch (error) {
      // A port that is taken does not come free by waiting; an API server comes back.
      if (error instanceof UserError && error.exitCode === EXIT.failure) throw error;
      starting = messageOf(error);
      log.warn({ problem: starting }, 'cannot start yet');
      await Promise.race([sleep(RETRY_MS), signal]);
    }
  }
  if (starting === undefined) {
    log.info({ listen: formatEndpoint(authority.endpoint!), trustDomain: flags.trustDomain }, 'serving');
    if (flags.caFile !== undefined) keepFile(flags.caFile, authority);
  }
  log.info(`${await signal}: sidecars have ${drainMs / 1000} s to go elsewhere`);
  starting = 'shutting down';
  authority.drain();
  await sleep(drainMs);
  await authority.close();
  await health.close();
  await client.close();
}

/** Never half a file: who reads it sees the old one or the new one. */
function keepFile(file: string, authority: Authority): void {
  const write = (): void => {
    writeFileSync(`${file}.new`, authority.authorities, { mode: 0o644 });
    renameSync(`${file}.new`, file);
  };
  write();
  authority.onAuthorities(write);
}

function seconds(flag: string, value: string, least: number, most: number): number {
  const number = /^\d{1,6}$/.test(value) ? Number(value) : -1;
  if (number >= least && number <= most) return number;
  throw new UserError(`${flag} ${value}: has to be a number of seconds from ${least} to ${most}`);
}
