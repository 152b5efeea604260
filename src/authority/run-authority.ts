import { renameSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors.ts';
import { isTrustDomain } from '../identity/claims.ts';
import { formatEndpoint } from '../lib/address.ts';
import { listenEndpoint } from '../lib/listen-endpoint.ts';
import { type ReplicaFlags, runReplica } from '../run-replica.ts';
import { programVersion } from '../version.ts';
import { Authority } from './authority.ts';

/** The flags of `countersign authority`, as commander gives them. */
export interface AuthorityFlags extends ReplicaFlags {
  readonly trustDomain: string;
  readonly names: string;
  readonly sidecarContainer: string;
  readonly sidecarImage: string;
  readonly audience: string;
  readonly caConfigmap: string;
  readonly identityTtl: string;
  readonly renewAfter: string;
  readonly federation?: string;
  readonly caFile?: string;
  readonly drain: string;
}

/** Runs a replica until a signal ends it ({@link runReplica}). Throws a `UserError` for what is wrong with the flags. */
export async function runAuthority(flags: AuthorityFlags): Promise<void> {
  const ttl = seconds('--identity-ttl', flags.identityTtl, 60, 86_400);
  const renewAfter = seconds('--renew-after', flags.renewAfter, 1, ttl - 1);
  const drainMs = seconds('--drain', flags.drain, 0, 3_600) * 1000;
  const listen = listenEndpoint('--listen', flags.listen);
  const names = flags.names.split(',').filter((name) => name !== '');
  if (names.length === 0) throw new UserError('--names: name at least one');
  if (!isTrustDomain(flags.trustDomain)) {
    throw new UserError(`--trust-domain ${flags.trustDomain}: write a name like cluster.local`);
  }
  return runReplica(flags, ({ client, log }) => {
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
    return {
      replica: authority,
      serving: () => {
        if (flags.caFile !== undefined) keepFile(flags.caFile, authority);
        return { listen: formatEndpoint(authority.endpoint!), trustDomain: flags.trustDomain };
      },
      ending: async (signal) => {
        log.info(`${signal}: sidecars have ${drainMs / 1000} s to go elsewhere`);
        authority.drain();
        await sleep(drainMs);
      },
    };
  });
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
