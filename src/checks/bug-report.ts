import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EXIT, messageOf, UserError } from '../errors.ts';
import type { Pod } from '../inject/pod.ts';
import { PROXY_CONTAINER } from '../inject/names.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { ApiError } from '../kube/api-error.ts';
import { AUTHORITY, INJECTOR, NAME } from '../install/options.ts';
import { askSidecar } from './ask-sidecar.ts';
import { isLeaving, podName, sidecarOf } from './enrolled.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';
import type { Finding } from './finding.ts';
import { podStatus, type PodStatus } from './pod-status.ts';
import { redact } from './redact.ts';
import { releasesIn } from './upgrade.ts';

const LOG_LINES = '2000';
const MOST_STATUSES = 50;
const MOST_SIDECAR_LOGS = 10;

export interface ReportInput {
  readonly client: ApiClient;
  readonly facts: ClusterFacts;
  readonly findings: readonly Finding[];
  readonly settings: CheckSettings;
  /** Made here; must not be there yet. */
  readonly folder: string;
  readonly onProgress: (what: string) => void;
}

/**
 * Writes what somebody else needs to understand an installation into a folder, and no secret: no Secret and no pod's environment is read, and every text
 * goes through {@link redact}. What could not be had is written down as well.
 * @returns the names of the files
 * @throws UserError when the folder is there, or cannot be written
 */
export async function writeBugReport({
  client,
  facts,
  findings,
  settings,
  folder,
  onProgress,
}: ReportInput): Promise<string[]> {
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    throw new UserError(`--out ${folder}: ${messageOf(error)}; name a folder that is not there yet`, {
      exitCode: EXIT.failure,
    });
  }
  const files: string[] = [];
  const write = (name: string, text: string): void => {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(path, redact(text), { mode: 0o600 });
    files.push(name);
  };
  const json = (name: string, value: unknown): void => write(name, `${JSON.stringify(value, null, 2)}\n`);

  const { controlPlane, sidecars } = releasesIn(facts);
  json('versions.json', {
    program: settings.release,
    kubernetes: facts.version,
    controlPlane,
    sidecars: Object.fromEntries([...sidecars].map(([release, pods]) => [release, pods.length])),
    nodes: facts.nodes?.map(({ metadata, status }) => ({ name: metadata.name, ...status?.nodeInfo })),
  });
  json('check.json', findings);
  json('not-seen.json', facts.unseen);
  const ours = ({ metadata }: { metadata: { name: string } }): boolean => metadata.name === NAME;
  json('control-plane.json', {
    deployments: facts.deployments?.map(({ metadata, spec, status }) => ({
      name: metadata.name,
      spec,
      status,
    })),
    webhooks: [...(facts.mutatingWebhooks ?? []), ...(facts.validatingWebhooks ?? [])].filter(ours),
  });

  const own = (facts.pods ?? []).filter(
    ({ metadata }) =>
      metadata?.namespace === settings.namespace &&
      [AUTHORITY, INJECTOR].includes(metadata.labels?.['app.kubernetes.io/name'] ?? ''),
  );
  const injected = (facts.pods ?? []).filter((pod) => sidecarOf(pod) !== undefined && !isLeaving(pod));
  const statuses: PodStatus[] = [];
  for (const pod of [...injected]
    .toSorted((a, b) => Number(isReady(a)) - Number(isReady(b)))
    .slice(0, MOST_STATUSES)) {
    onProgress(`asking ${podName(pod)}`);
    statuses.push(podStatus(pod, await askSidecar(client, pod), settings.now));
  }
  json('sidecars.json', { all: injected.length, asked: statuses });

  const logs = async (pod: Pod, container: string): Promise<void> => {
    const { namespace = '', name = '' } = pod.metadata ?? {};
    onProgress(`reading the log of ${podName(pod)}`);
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/log`;
    let text: string;
    try {
      ({ text } = await client.getText(path, { container, tailLines: LOG_LINES, timestamps: 'true' }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      text = `the log could not be read: ${error.message}\n`;
    }
    write(`logs/${namespace}-${name}-${container}.log`, text);
  };
  for (const pod of own) await logs(pod, pod.metadata?.labels?.['app.kubernetes.io/name'] ?? '');
  for (const pod of injected.filter((one) => !isReady(one)).slice(0, MOST_SIDECAR_LOGS))
    await logs(pod, PROXY_CONTAINER);

  write(
    'README.txt',
    `What countersign bug-report collected; look through it before you hand it on.

It holds names of nodes, namespaces, pods and policies, addresses, and lines of logs with who was refused.
It holds no Secret, no token, no key: none was read, and what looks like one in a text was replaced by REDACTED.

${[...files, 'README.txt'].toSorted().join('\n')}
`,
  );
  return files.toSorted();
}

function isReady(pod: Pod): boolean {
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  return statuses.find(({ name }) => name === PROXY_CONTAINER)?.ready === true;
}
