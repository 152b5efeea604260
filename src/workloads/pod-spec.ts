import type { NamedPort } from '../policy/evaluate.ts';
import type { FieldReader } from '../policy/fields.ts';
import { portNameFault, portNumberFault } from '../policy/syntax.ts';

/** What decides from a pod's spec, or that of a template. */
export interface PodSpec {
  readonly namedPorts: readonly NamedPort[];
  readonly hostNetwork: boolean;
  readonly node: string | undefined;
}

/**
 * Reads a pod's spec. Named ports are those of containers and of init containers that stay (sidecars, KEP-753): Services count
 * the same ones. Ports are validated as the API server does (`validateContainerPorts`).
 */
export function decodePodSpec(reader: FieldReader, value: unknown, field: string): PodSpec {
  const spec = reader.object(value, field) ?? {};
  const namedPorts: NamedPort[] = [];
  for (const list of ['containers', 'initContainers'] as const) {
    const containers = reader.list(spec[list], `${field}.${list}`);
    if (containers === undefined) continue;
    for (let index = 0; index < containers.length; index++) {
      const at = `${field}.${list}[${index}]`;
      const container = reader.object(containers[index], at) ?? {};
      const ports = decodePorts(reader, container['ports'], `${at}.ports`);
      if (list === 'containers' || container['restartPolicy'] === 'Always') namedPorts.push(...ports);
    }
  }
  return {
    namedPorts,
    hostNetwork: spec['hostNetwork'] === true,
    node: reader.text(spec['nodeName'], `${field}.nodeName`),
  };
}

function decodePorts(reader: FieldReader, value: unknown, field: string): readonly NamedPort[] {
  const ports = reader.list(value, field);
  if (ports === undefined) return [];
  const named: NamedPort[] = [];
  for (let index = 0; index < ports.length; index++) {
    const at = `${field}[${index}]`;
    const entry = reader.object(ports[index], at) ?? {};
    const port = reader.integer(entry['containerPort'], `${at}.containerPort`) ?? 0;
    const protocol = reader.text(entry['protocol'], `${at}.protocol`) ?? 'TCP';
    const name = reader.text(entry['name'], `${at}.name`) ?? '';
    const portFault = portNumberFault(port);
    if (portFault !== undefined) reader.problem(`${at}.containerPort`, portFault);
    if (name !== '') {
      const nameFault = portNameFault(name);
      if (nameFault !== undefined) reader.problem(`${at}.name`, nameFault);
      if (named.some((one) => one.name === name))
        reader.problem(`${at}.name`, `${name} is the name of another port of this container`);
    }
    if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP')
      reader.problem(`${at}.protocol`, 'must be one of TCP, UDP, SCTP, in capitals');
    else if (name !== '') named.push({ name, port, protocol });
  }
  return named;
}
