import { UserError } from '../errors.ts';
import { dnsLabelFault } from '../policy/syntax.ts';
import { checkSettings, type InjectSettings } from '../inject/settings.ts';

/** What an installation is made of. */
export interface InstallOptions {
  readonly namespace: string;
  readonly trustDomain: string;
  readonly replicas: number;
  /** What sidecars are like; image and pull policy are the control plane's too. */
  readonly sidecars: InjectSettings;
  /** PodMonitor and PrometheusRule: only where the Prometheus operator's kinds are. */
  readonly monitoring: boolean;
  /** Where `docs/runbook.md` can be read, for the links of alerts; undefined: nowhere. */
  readonly runbookUrl?: string | undefined;
}

/** Name of both webhook configurations, and the prefix of all that is installed. */
export const NAME = 'countersign';
export const AUTHORITY = 'countersign-authority';
export const INJECTOR = 'countersign-injector';
/** Ports of the control plane's pods. The authority's is above 1024, and so is the injector's: neither runs as root. */
export const PORTS = { authority: 14_443, injector: 14_444, metrics: 14_020 } as const;

/** @throws UserError naming flag, value and remedy */
export function checkInstall(options: InstallOptions): void {
  const { namespace, trustDomain, replicas, runbookUrl, sidecars } = options;
  const fault = dnsLabelFault(namespace);
  if (fault !== undefined) throw new UserError(`--namespace ${namespace}: ${fault}`);
  if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(trustDomain))
    throw new UserError(`--trust-domain ${trustDomain}: write a DNS name, for instance cluster.local`);
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > 9)
    throw new UserError(`--replicas ${replicas}: from 1 to 9`);
  if (runbookUrl !== undefined && !/^https?:\/\/[^\s#"'{}]{1,1000}$/.test(runbookUrl))
    throw new UserError(
      `--runbook-url ${runbookUrl}: write https://HOST/PATH of a page with the sections of docs/runbook.md, without #`,
    );
  checkSettings(sidecars);
}

/** Labels of everything that belongs to one part. */
export function labelsOf(part: string): Record<string, string> {
  return {
    'app.kubernetes.io/name': part,
    'app.kubernetes.io/part-of': NAME,
    'app.kubernetes.io/managed-by': 'countersign-install',
  };
}

/** One object as the API takes it. */
export interface InstallObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [member: string]: unknown;
}
