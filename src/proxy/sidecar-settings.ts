import { messageOf, UserError } from '../errors.ts';
import { FileIdentity } from '../identity/file-identity.ts';
import { isTrustDomain } from '../identity/claims.ts';
import type { IdentityKeeper } from '../identity/identity-keeper.ts';
import type { OwnPod } from '../identity/described-identity.ts';
import { SharedSecretIdentity } from '../identity/shared-secret-identity.ts';
import type { Endpoint } from '../lib/address.ts';
import type { Curves } from '../lib/curves.ts';
import { listenEndpoint } from '../lib/listen-endpoint.ts';
import { Marks } from '../nfqueue/marks.ts';
import type { LogLevel } from '../observe/log.ts';
import { KEEP_SOURCE_IN_QUEUES } from '../redirect/plan-options.ts';
import type { SourceFlags } from './source-setting.ts';
import type { NodeTraffic } from './surroundings.ts';

/** The flags of `countersign proxy`, as commander gives them. */
export interface SidecarFlags extends SourceFlags {
  readonly identity: string;
  readonly token?: string;
  readonly key?: string;
  readonly trust?: string;
  readonly psk?: string;
  readonly certificate?: string;
  readonly trustDomain?: string;
  readonly mode: string;
  readonly nodeTraffic: NodeTraffic;
  readonly keepSourceAddress?: boolean;
  readonly metrics: string;
  readonly adminSocket?: string;
  readonly flowLog?: string;
  readonly logLevel: LogLevel;
  readonly drain: string;
  readonly maxConnections?: string;
  readonly tcpProbes: string;
  readonly redirectProbeInterval: string;
  readonly firstQueue: string;
  readonly queues: string;
  readonly markMask: string;
  readonly flowState?: string;
}

/** The own identity, however it is had. */
export type SidecarIdentity = IdentityKeeper & {
  start?: () => Promise<void>;
  /** Told of the own pod whenever it changes, by kinds that depend on it. */
  describe?: (own: OwnPod) => Promise<void>;
  close(): void;
};

/** What the flags mean. */
export interface SidecarSettings {
  readonly makeIdentity: (curves: Curves) => SidecarIdentity | Promise<SidecarIdentity>;
  readonly metrics: Endpoint;
  readonly drainMs: number;
  /** undefined: what memory has room for. */
  readonly maxConnections: number | undefined;
  readonly marks: Marks;
  readonly firstQueue: number;
  readonly queues: number;
  readonly probeIntervalMs: number;
}

/**
 * Checks what commander cannot: which flags belong together, and what numbers mean.
 * @throws UserError that names the flag and what it has to be
 */
export function settingsOf(flags: SidecarFlags): SidecarSettings {
  if (flags.keepSourceAddress === true && flags.mode === 'nfqueue')
    throw new UserError(KEEP_SOURCE_IN_QUEUES);
  if (!/^[^/]+\/[^/]+$/.test(flags.pod)) throw new UserError(`--pod ${flags.pod}: write NAMESPACE/NAME`);
  if (flags.identityKey !== undefined && flags.source !== 'authority')
    throw new UserError('--identity-key belongs to --source authority; --key names the key of a token');
  return {
    makeIdentity: identityOf(flags),
    metrics: listenEndpoint('--metrics', flags.metrics),
    marks: marksOf(flags.markMask),
    firstQueue: whole('--first-queue', flags.firstQueue, 0, 65_535),
    queues: whole('--queues', flags.queues, 1, 64),
    maxConnections:
      flags.maxConnections === undefined
        ? undefined
        : whole('--max-connections', flags.maxConnections, 16, 900_000),
    drainMs: seconds('--drain', flags.drain) * 1000,
    probeIntervalMs: seconds('--redirect-probe-interval', flags.redirectProbeInterval) * 1000,
  };
}

function identityOf(flags: SidecarFlags): SidecarSettings['makeIdentity'] {
  const { token, key, trust, psk, certificate, trustDomain } = flags;
  if (flags.source === 'authority') {
    if ([token, key, trust, psk, certificate, trustDomain].some((one) => one !== undefined)) {
      throw new UserError(
        '--source authority gives the identity, too: leave out --token, --key, --trust, --psk, --certificate and --trust-domain',
      );
    }
    return () => {
      throw new Error('the link to the authority has the identity');
    };
  }
  if (flags.identity === 'pki') return pkiOf(flags);
  if (certificate !== undefined || trustDomain !== undefined) {
    throw new UserError(
      `--certificate and --trust-domain belong to --identity pki, and --identity is ${flags.identity}`,
    );
  }
  if (flags.identity === 'psk') {
    if (psk === undefined) throw new UserError('--identity psk needs --psk');
    return (curves) => new SharedSecretIdentity(psk, curves);
  }
  if (token === undefined || key === undefined || trust === undefined) {
    throw new UserError('--identity token needs --token, --key and --trust');
  }
  return (curves) => new FileIdentity({ token, key, trust }, curves);
}

/** Certificates are loaded by who uses them: reading them takes half a megabyte of code. */
function pkiOf({
  token,
  key,
  trust,
  psk,
  certificate,
  trustDomain,
}: SidecarFlags): SidecarSettings['makeIdentity'] {
  if (certificate === undefined || trust === undefined || trustDomain === undefined) {
    throw new UserError(
      '--identity pki needs --certificate, --trust and --trust-domain; --key too, unless the key stands in the file of the certificate',
    );
  }
  if (token !== undefined || psk !== undefined) {
    throw new UserError('--identity pki proves by a certificate: leave out --token and --psk');
  }
  if (!isTrustDomain(trustDomain)) {
    throw new UserError(
      `--trust-domain ${trustDomain}: write the domain of the SPIFFE IDs alone, like cluster.local: lower case letters, digits, dots, dashes and underscores`,
    );
  }
  return async () => {
    const { CertificateIdentity } = await import('../pki/certificate-identity.ts');
    return new CertificateIdentity({ certificate, key: key ?? certificate, trust, trustDomain });
  };
}

function seconds(flag: string, value: string): number {
  const number = Number(value);
  if (value === '' || !Number.isFinite(number) || number < 0 || number > 86_400) {
    throw new UserError(`${flag} ${value}: has to be a number of seconds`);
  }
  return number;
}

function whole(flag: string, value: string, least: number, most: number): number {
  const number = /^\d{1,6}$/.test(value) ? Number(value) : -1;
  if (number >= least && number <= most) return number;
  throw new UserError(`${flag} ${value}: has to be a number from ${least} to ${most}`);
}

function marksOf(value: string): Marks {
  try {
    if (!/^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(value)) throw new RangeError('write it as 0x0ff00000');
    return new Marks(Number(value));
  } catch (error) {
    throw new UserError(`--mark-mask ${value}: ${messageOf(error)}`);
  }
}
