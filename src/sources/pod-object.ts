import type { NamedPort } from '../policy/evaluate.ts';
import type { FieldReader } from '../policy/fields.ts';
import { decodeAddresses, decodeMetadata, decodePort, type PodObject } from './objects.ts';

/** A pod that carries this label has a sidecar. */
export const INJECT_LABEL = 'countersign.io/inject';

/** Reads a Pod. */
export function decodePod(reader: FieldReader, root: Record<string, unknown>): PodObject {
  const { namespace, name, uid, labels, annotations, deleted } = decodeMetadata(reader, root['metadata']);
  const spec = reader.object(root['spec'], 'spec') ?? {};
  const status = reader.object(root['status'], 'status') ?? {};
  const containers = runningContainers(reader, spec);
  const ports = containers.flatMap(({ container, field }) =>
    (reader.list(container['ports'], `${field}.ports`) ?? []).flatMap((entry, index) => {
      return decodePort(reader, entry, `${field}.ports[${index}]`, 'containerPort') ?? [];
    }),
  );
  const ips = reader.list(status['podIPs'], 'status.podIPs');
  const addresses =
    ips === undefined
      ? decodeAddresses(reader, [status['podIP']], 'status.podIP')
      : decodeAddresses(
          reader,
          ips.map((entry, index) => reader.object(entry, `status.podIPs[${index}]`)?.['ip']),
          'status.podIPs',
        );
  const phase = reader.text(status['phase'], 'status.phase');
  return {
    kind: 'Pod',
    pod: {
      namespace,
      name,
      // Whoever writes manifests by hand has no uid; the name is one as long as it is not given anew.
      uid: uid ?? `${namespace}.${name}`,
      serviceAccount: reader.text(spec['serviceAccountName'], 'spec.serviceAccountName') ?? 'default',
      labels,
      addresses,
      nodeName: reader.text(spec['nodeName'], 'spec.nodeName'),
      ports: ports.filter((port) => port.name !== ''),
      probePorts: [...new Set(containers.flatMap(({ container }) => probePorts(container, ports)))],
      enrolled: labels[INJECT_LABEL] === 'true' && spec['hostNetwork'] !== true,
      hostNetwork: spec['hostNetwork'] === true,
    },
    annotations,
    finished: phase === 'Succeeded' || phase === 'Failed',
    terminating: deleted,
  };
}

interface Container {
  readonly container: Record<string, unknown>;
  readonly field: string;
}

/** The containers that run beside each other: the ordinary ones, and init containers that stay (KEP-753). */
function runningContainers(reader: FieldReader, spec: Record<string, unknown>): Container[] {
  const of = (list: string): Container[] =>
    (reader.list(spec[list], `spec.${list}`) ?? []).map((entry, index) => {
      const field = `spec.${list}[${index}]`;
      return { container: reader.object(entry, field) ?? {}, field };
    });
  return [
    ...of('containers'),
    ...of('initContainers').filter(({ container }) => container['restartPolicy'] === 'Always'),
  ];
}

const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
const HOOKS = ['postStart', 'preStop'] as const;
const ACTIONS = ['httpGet', 'tcpSocket', 'grpc'] as const;

/** The ports that kubelet itself connects to. Malformed probes are the API server's business: they just name no port. */
function probePorts(container: Record<string, unknown>, named: readonly NamedPort[]): number[] {
  const lifecycle = plain(container['lifecycle']);
  const handlers = [...PROBES.map((key) => container[key]), ...HOOKS.map((key) => lifecycle[key])];
  return handlers.flatMap((handler) =>
    ACTIONS.flatMap((action) => {
      const port = plain(plain(handler)[action])['port'];
      if (typeof port === 'number') return [port];
      if (typeof port !== 'string') return [];
      return named.filter((one) => one.name === port && one.protocol === 'TCP').map((one) => one.port);
    }),
  );
}

function plain(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
