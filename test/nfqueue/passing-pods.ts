import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import type { ConnectionLimit } from '../../src/relay/connection-limit.ts';
import type { NetworkPolicy } from '../../src/policy/model.ts';
import { Simulation } from '../proxy/simulation.ts';
import { NO_EVENTS } from '../support/no-events.ts';
import { allowFrom } from './policies.ts';
import { QueuedNetwork } from './queued-network.ts';

export interface PassingPods {
  readonly simulation: Simulation;
  readonly network: QueuedNetwork;
  readonly client: QueuedNetwork['client'];
  readonly server: QueuedNetwork['server'];
  /** The bounds of connections, where there are passes. */
  readonly limits: readonly ConnectionLimit[];
  /** One connection, to its end on the wire. */
  connect(options?: Parameters<QueuedNetwork['connect']>[0]): void;
  end(): Promise<void>;
}

/**
 * Two pods with queues, `web` and `db`, whose kernels write what Linux writes; two connections were made between them, so that there are passes.
 * @param passes false: the same without passes, which is how it should turn out with them
 */
export function passingPods(
  passes = true,
  policies: NetworkPolicy[] = [allowFrom('db', 'web')],
  addresses: { client?: string; server?: string } = {},
): PassingPods {
  const simulation = new Simulation();
  simulation.policies = policies;
  const paths = passes
    ? [new NativeDataPath(loadAddon(), NO_EVENTS), new NativeDataPath(loadAddon(), NO_EVENTS)]
    : [];
  const pod = (index: number, name: string, address: string | undefined) =>
    simulation.pod(
      name,
      { app: name },
      {
        ...(address === undefined ? {} : { address }),
        ...(passes ? { resumption: paths[index]!.resumption } : {}),
      },
    );
  const network = new QueuedNetwork(
    simulation,
    pod(0, 'web', addresses.client),
    pod(1, 'db', addresses.server),
  );
  network.linux = true;
  const { client, server } = network;
  const connect: PassingPods['connect'] = (options) => {
    network.connect(options);
    client.tcp.connect();
    network.run();
  };
  connect();
  connect();
  client.path.passed = server.path.passed = 0;
  return {
    simulation,
    network,
    client,
    server,
    connect,
    limits: paths.map(({ limit }) => limit),
    end: async () => {
      await Promise.all([client.proxy.close(), server.proxy.close()]);
      await Promise.all(paths.map((path) => path.close()));
    },
  };
}

/** Everything that is said of a pod's connections, in no particular order. */
export function saidOf({ pod, proxy, kept, path }: QueuedNetwork['client']): Record<string, unknown> {
  const flows = [...proxy.flows.values()];
  return {
    flows: inOrder(
      flows.map(({ tuple, established, verified, flow }) => ({
        tuple: Buffer.concat([tuple.sourceAddress, tuple.destinationAddress]).toString('hex'),
        ports: [tuple.sourcePort, tuple.destinationPort],
        established,
        verified,
        facts: flow.facts,
        judgement: flow.judgement,
      })),
    ),
    counts: [...pod.counts].sort(),
    records: inOrder(pod.records.map(({ facts, judgement }) => ({ facts, judgement }))),
    kept: [...kept.keys()].sort().map((key) => Buffer.from(key, 'latin1').toString('hex')),
    marks: [...path.marks]
      .map(([key, { mark }]) => `${Buffer.from(key, 'latin1').toString('hex')} ${mark}`)
      .sort(),
    open: [...pod.proxy!.surroundings.open].length,
    waiting: path.undecided,
  };
}

function inOrder(values: readonly unknown[]): unknown[] {
  return values.toSorted((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));
}
