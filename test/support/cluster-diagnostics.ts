/** Looks into a cluster by kubectl. */
type Kubectl = (args: readonly string[]) => Promise<string>;

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly namespace: string };
    readonly spec: {
      readonly containers: readonly { readonly name: string }[];
      readonly initContainers?: readonly { readonly name: string }[];
    };
    readonly status: {
      readonly phase?: string;
      readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    };
  }[];
}

const SYSTEM = 'countersign-system';
const SIDECAR = 'countersign-proxy';
/** Pods that are told of at length: the first failures are the cause, the others follow. */
const AT_LENGTH = 6;

function carries(
  { containers, initContainers = [] }: PodList['items'][number]['spec'],
  name: string,
): boolean {
  return [...containers, ...initContainers].some((one) => one.name === name);
}

/** What one wants to know of a cluster in which a test has failed: pods, warnings, and of those that are not ready all there is. Never rejects. */
export async function describeCluster(kubectl: Kubectl): Promise<string> {
  const parts: string[] = [];
  const tell = async (...args: string[]): Promise<void> => {
    const said = await kubectl(args).catch((error: unknown) => String(error));
    parts.push(`$ kubectl ${args.join(' ')}\n${said.trimEnd()}`);
  };
  await tell('get', 'pods', '-A', '-o', 'wide');
  await tell('get', 'events', '-A', '--field-selector=type!=Normal', '--sort-by=.lastTimestamp');
  const pods = await kubectl(['get', 'pods', '-A', '-o', 'json']).then(
    (text) => (JSON.parse(text) as PodList).items,
    () => [],
  );
  const unready = pods.filter(
    ({ status }) =>
      status.phase !== 'Succeeded' &&
      status.conditions?.find(({ type }) => type === 'Ready')?.status !== 'True',
  );
  for (const { metadata } of unready.slice(0, AT_LENGTH))
    await tell('-n', metadata.namespace, 'describe', 'pod', metadata.name);
  const ours = pods.filter(({ metadata }) => metadata.namespace === SYSTEM);
  for (const { metadata, spec } of new Set([...unready.slice(0, AT_LENGTH), ...ours])) {
    for (const { name } of [...(spec.initContainers ?? []), ...spec.containers])
      await tell('-n', metadata.namespace, 'logs', metadata.name, '-c', name, '--tail=25');
  }
  // Denials are in the log, with what would have to be otherwise.
  const others = pods.filter((one) => !unready.includes(one) && !ours.includes(one));
  for (const { metadata, spec } of others
    .filter(({ spec }) => carries(spec, SIDECAR))
    .slice(0, 2 * AT_LENGTH))
    for (const name of [SIDECAR, spec.containers[0]!.name])
      await tell('-n', metadata.namespace, 'logs', metadata.name, '-c', name, '--tail=8');
  return parts.join('\n\n');
}
