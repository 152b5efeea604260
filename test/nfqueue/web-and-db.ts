import { Simulation } from '../proxy/simulation.ts';
import { allowFrom } from './policies.ts';
import { QueuedNetwork } from './queued-network.ts';

/** Two pods with queues: `web` calls `db`, which lets in nobody else. */
export function webAndDb(t: { teardown: (end: () => Promise<unknown>) => unknown }) {
  const simulation = new Simulation();
  simulation.policies = [allowFrom('db', 'web')];
  const network = new QueuedNetwork(
    simulation,
    simulation.pod('web', { app: 'web' }),
    simulation.pod('db', { app: 'db' }),
  );
  const { client, server } = network;
  t.teardown(() => Promise.all([client.proxy.close(), server.proxy.close()]));
  return { simulation, network, client, server };
}
