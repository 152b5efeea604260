import { UserError } from '../errors.ts';
import { installObjects } from '../install/install.ts';
import { checkSettings, DEFAULT_SETTINGS, type InjectSettings } from '../inject/settings.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { dnsLabelFault } from '../policy/syntax.ts';
import { enrollingNamespaces } from './enrolled.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';
import { fetchFacts } from './fetch-facts.ts';
import type { Finding } from './finding.ts';
import { runChecks } from './run-checks.ts';
import { tryPods } from './trial-pods.ts';

/** The flags of `countersign check` that say what is looked at. */
export interface LookFlags {
  readonly pre: boolean;
  readonly namespace: string;
  readonly enroll?: string;
  readonly trial: boolean;
  readonly cpuRequest: string;
  readonly memoryRequest: string;
  readonly memoryLimit: string;
  readonly release: string;
}

/**
 * Looks at a cluster and says what is wrong, worst first.
 * @throws UserError for a flag, ApiError where the API server cannot be reached
 */
export async function lookAtCluster(client: ApiClient, flags: LookFlags): Promise<Finding[]> {
  const { namespace, release, pre, trial } = flags;
  const enrolling = (flags.enroll ?? '').split(',').filter((name) => name !== '');
  for (const [flag, name] of [['--namespace', namespace], ...enrolling.map((one) => ['--enroll', one])]) {
    const fault = dnsLabelFault(name!);
    if (fault !== undefined) throw new UserError(`${flag} ${name}: ${fault}`);
  }
  const sidecars = sidecarSettings(flags);
  const settings = settingsOf(flags, sidecars, enrolling);
  const installing = pre
    ? installObjects({ namespace, trustDomain: 'cluster.local', replicas: 2, monitoring: false, sidecars })
    : [];
  let facts = await fetchFacts({ client, settings, installing });
  if (trial) {
    const places = enrollingNamespaces(facts, settings);
    const tried = places.length > 0 ? places : ['default'];
    facts = await tryPods(client, facts, tried, pre ? { settings: sidecars, release } : undefined);
  }
  return runChecks(facts, settings, pre);
}

/** What is known of a cluster with an installation of default settings, for who needs no findings. */
export async function gatherFacts(
  client: ApiClient,
  { namespace, release }: Pick<LookFlags, 'namespace' | 'release'>,
): Promise<{ facts: ClusterFacts; settings: CheckSettings }> {
  const fault = dnsLabelFault(namespace);
  if (fault !== undefined) throw new UserError(`--namespace ${namespace}: ${fault}`);
  const flags = { ...DEFAULT_SETTINGS, namespace, release };
  const settings = settingsOf(flags, sidecarSettings(flags), []);
  return { facts: await fetchFacts({ client, settings, installing: [] }), settings };
}

type SidecarFlags = Pick<LookFlags, 'namespace' | 'release' | 'cpuRequest' | 'memoryRequest' | 'memoryLimit'>;

function sidecarSettings(flags: SidecarFlags): InjectSettings {
  const sidecars: InjectSettings = {
    ...DEFAULT_SETTINGS,
    image: `countersign:${flags.release}`,
    authority: `https://countersign-authority.${flags.namespace}.svc:14443`,
    cpuRequest: flags.cpuRequest,
    memoryRequest: flags.memoryRequest,
    memoryLimit: flags.memoryLimit,
  };
  checkSettings(sidecars);
  return sidecars;
}

function settingsOf(
  { namespace, release }: SidecarFlags,
  { caConfigMap, cpuRequest, memoryRequest, memoryLimit }: InjectSettings,
  enrolling: readonly string[],
): CheckSettings {
  return {
    namespace,
    enrolling,
    caConfigMap,
    cpuRequest,
    memoryRequest,
    memoryLimit,
    release,
    now: Date.now(),
  };
}
