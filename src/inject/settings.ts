import { UserError } from '../errors.ts';
import { canonicalAddress } from '../lib/address.ts';

/** What an installation decides once for all its pods. */
export interface InjectSettings {
  /** Image of sidecar and init step, with tag or digest. */
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never' | undefined;
  /** User and group that the proxy runs as; nobody else in the pod may. */
  readonly proxyUid: number;
  /** `https://NAME:PORT` of the authority. */
  readonly authority: string;
  /** Audience of the projected service-account token. */
  readonly audience: string;
  /** ConfigMap with `ca.pem`, by which sidecars believe the authority. */
  readonly caConfigMap: string;
  readonly nodeTraffic: 'probes' | 'all' | 'none';
  /** An ordinary container instead of a native sidecar (KEP-753), for clusters and tools that do not know those. */
  readonly classic: boolean;
  readonly cpuRequest: string;
  readonly memoryRequest: string;
  readonly memoryLimit: string;
  /** How long open connections may last after SIGTERM, seconds. */
  readonly drainSeconds: number;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
}

/** What an installation has unless it says otherwise; image and authority are always said. */
export const DEFAULT_SETTINGS = {
  imagePullPolicy: undefined,
  proxyUid: 14_014,
  audience: 'countersign-authority',
  caConfigMap: 'countersign-ca',
  nodeTraffic: 'probes',
  classic: false,
  cpuRequest: '10m',
  memoryRequest: '40Mi',
  memoryLimit: '128Mi',
  drainSeconds: 25,
  logLevel: 'info',
} as const satisfies Partial<InjectSettings>;

/** Below this a sidecar's heap would be too small to start. */
const LEAST_MEMORY = 64 << 20;
/** The share of the memory limit that JavaScript may fill; the rest is for Node.js itself, the data thread and buffers. */
const HEAP_SHARE = 0.5;

/**
 * Refuses settings by which pods could not run, or whose rules would exempt somebody else than the proxy.
 * @throws UserError naming flag, value and remedy
 */
export function checkSettings(settings: InjectSettings): void {
  const { image, proxyUid, authority, drainSeconds } = settings;
  const refuse = (what: string): never => {
    throw new UserError(what);
  };
  if (!/^[a-z0-9][a-zA-Z0-9._/:@-]{0,511}$/.test(image))
    refuse(`--image ${image}: write NAME:TAG or NAME@sha256:DIGEST`);
  if (!Number.isInteger(proxyUid) || proxyUid < 1_000 || proxyUid > 0x7fff_ffff)
    refuse(`--proxy-uid ${proxyUid}: has to be a user from 1000 to 2147483647 that no application runs as`);
  authorityHost(authority);
  if (!Number.isInteger(drainSeconds) || drainSeconds < 0 || drainSeconds > 3_600)
    refuse(`--drain ${drainSeconds}: has to be whole seconds from 0 to 3600`);
  for (const [flag, value] of [
    ['--memory-request', settings.memoryRequest],
    ['--memory-limit', settings.memoryLimit],
  ] as const) {
    if (memoryBytes(value) === undefined)
      refuse(`${flag} ${value}: write a quantity of memory, for instance 128Mi`);
  }
  if (!/^[1-9]\d{0,5}m?$/.test(settings.cpuRequest))
    refuse(`--cpu-request ${settings.cpuRequest}: write for instance 10m`);
  if (memoryBytes(settings.memoryLimit)! < LEAST_MEMORY)
    refuse(`--memory-limit ${settings.memoryLimit}: at least 64Mi`);
  if (memoryBytes(settings.memoryRequest)! > memoryBytes(settings.memoryLimit)!)
    refuse(`--memory-request ${settings.memoryRequest} is more than --memory-limit ${settings.memoryLimit}`);
}

/** Megabytes of old space that fit into the memory limit: V8 then collects garbage before the kernel kills. */
export function heapMegabytes(memoryLimit: string): number {
  return Math.floor(((memoryBytes(memoryLimit) ?? LEAST_MEMORY) * HEAP_SHARE) / (1 << 20));
}

/**
 * The host of an authority's URL.
 * @throws UserError
 */
export function authorityHost(authority: string): string {
  const url = URL.parse(authority);
  if (
    url === null ||
    url.protocol !== 'https:' ||
    url.pathname !== '/' ||
    url.search !== '' ||
    url.username !== ''
  )
    throw new UserError(`--authority ${authority}: write https://NAME:PORT`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (canonicalAddress(host) === undefined && !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(host))
    throw new UserError(`--authority ${authority}: ${host} is neither a DNS name nor an address`);
  return host;
}

const UNITS: Record<string, number> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 1 << 10,
  Mi: 1 << 20,
  Gi: 1 << 30,
};

/** Bytes of a memory quantity as people write it (`128Mi`); undefined when it is none. */
export function memoryBytes(quantity: string): number | undefined {
  const match = /^(\d{1,12})(k|M|G|Ki|Mi|Gi)?$/.exec(quantity);
  return match === null ? undefined : Number(match[1]) * UNITS[match[2] ?? '']!;
}
