import type { NamedPort } from '../policy/evaluate.ts';
import type { FieldReader } from '../policy/fields.ts';
import type { Labels } from '../policy/model.ts';
import type { Pod } from '../peers/directory.ts';
import { decodeAddresses, decodeFlag, decodeMetadata, decodePort, decodeWord } from './objects-fields.ts';

/** A pod that carries this label has a sidecar. */
export const INJECT_LABEL = 'countersign.io/inject';

/** Annotation (or label) that names how a pod's sidecar intercepts: `redirect` or `nfqueue`. */
export const DATA_PATH_KEY = 'countersign.io/data-path';

export interface PodObject {
  readonly kind: 'Pod';
  readonly pod: Pod;
  readonly annotations: Labels;
  /** Succeeded or Failed: its address belongs to nobody or to somebody else. */
  readonly finished: boolean;
  readonly terminating: boolean;
  /** Milliseconds since the epoch; 0 where the object does not say. */
  readonly createdAt: number;
}

const PHASES = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'];

/** Reads a Pod. */
export function decodePod(reader: FieldReader, root: Record<string, unknown>): PodObject {
  const { namespace, name, uid, labels, annotations, createdAt, deleted } = decodeMetadata(
    reader,
    root['metadata'],
  );
  const spec = reader.object(root['spec'], 'spec') ?? {};
  const status = reader.object(root['status'], 'status') ?? {};
  const containers = runningContainers(reader, spec);
  const ports = containers.flatMap(({ ports }) => ports);
  const phase = decodeWord(reader, status['phase'], 'status.phase', PHASES);
  const hostNetwork = decodeFlag(reader, spec['hostNetwork'], 'spec.hostNetwork') === true;
  return {
    kind: 'Pod',
    pod: {
      namespace,
      name,
      // Whoever writes manifests by hand has no uid; the name is one as long as it is not given anew.
      uid: uid ?? `${namespace}.${name}`,
      serviceAccount: reader.text(spec['serviceAccountName'], 'spec.serviceAccountName') ?? 'default',
      labels,
      addresses: podAddresses(reader, status),
      nodeName: reader.text(spec['nodeName'], 'spec.nodeName'),
      ports: ports.filter((port) => port.name !== ''),
      probePorts: [...new Set(containers.flatMap(({ container, ports }) => probePorts(container, ports)))],
      enrolled: labels[INJECT_LABEL] === 'true' && !hostNetwork,
      ...((annotations[DATA_PATH_KEY] ?? labels[DATA_PATH_KEY]) === 'nfqueue' ? { nfqueue: true } : {}),
      hostNetwork,
    },
    annotations,
    finished: phase === 'Succeeded' || phase === 'Failed',
    terminating: deleted,
    createdAt,
  };
}

function podAddresses(reader: FieldReader, status: Record<string, unknown>): string[] {
  const listed = reader.list(status['podIPs'], 'status.podIPs') ?? [];
  const texts = listed.map((entry, index) => reader.object(entry, `status.podIPs[${index}]`)?.['ip']);
  const addresses =
    texts.length > 0
      ? decodeAddresses(reader, texts, 'status.podIPs')
      : decodeAddresses(reader, [status['podIP']], 'status.podIP');
  return [...new Set(addresses)];
}

interface Container {
  readonly container: Record<string, unknown>;
  readonly ports: readonly NamedPort[];
}

/** The containers that run beside each other: the ordinary ones, and init containers that stay (KEP-753). */
function runningContainers(reader: FieldReader, spec: Record<string, unknown>): Container[] {
  const of = (list: string, stays: (container: Record<string, unknown>) => boolean): Container[] =>
    (reader.list(spec[list], `spec.${list}`) ?? []).flatMap((entry, index) => {
      const field = `spec.${list}[${index}]`;
      const container = reader.object(entry, field) ?? {};
      if (!stays(container)) return [];
      const ports = (reader.list(container['ports'], `${field}.ports`) ?? []).flatMap(
        (port, at) => decodePort(reader, port, `${field}.ports[${at}]`, 'containerPort') ?? [],
      );
      return [{ container, ports }];
    });
  return [
    ...of('containers', () => true),
    ...of('initContainers', (container) => container['restartPolicy'] === 'Always'),
  ];
}

const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
const HOOKS = ['postStart', 'preStop'] as const;
const ACTIONS = ['httpGet', 'tcpSocket', 'grpc'] as const;

/**
 * The ports that kubelet itself connects to; a name is one of the probe's own container. Malformed probes are the API server's business: they just name no port.
 */
function probePorts(container: Record<string, unknown>, named: readonly NamedPort[]): number[] {
  const lifecycle = plain(container['lifecycle']);
  const handlers = [...PROBES.map((key) => container[key]), ...HOOKS.map((key) => lifecycle[key])];
  return handlers.flatMap((handler) =>
    ACTIONS.flatMap((action) => {
      const { port } = plain(plain(handler)[action]);
      if (typeof port === 'string')
        return named.filter((one) => one.name === port && one.protocol === 'TCP').map((one) => one.port);
      return Number.isInteger(port) && Number(port) >= 1 && Number(port) <= 65535 ? [Number(port)] : [];
    }),
  );
}

function plain(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
