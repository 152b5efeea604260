import type { Command } from 'commander';
import { EXIT, UserError } from '../errors.ts';
import type { ApiClient } from '../kube/api-client.ts';
import type { ClusterChoice } from '../kube/kubeconfig.ts';

/** Adds the flags that name a cluster, as kubectl has them. */
export function withCluster(command: Command): Command {
  return command
    .option('--kubeconfig <file>', 'the kubeconfig of the cluster; by default the one that kubectl uses')
    .option('--context <name>', 'the context of the kubeconfig')
    .option('-n, --namespace <name>', 'where authority and injector run', 'countersign-system');
}

/**
 * Does something with a cluster's API server and closes the connection.
 * @throws UserError where it cannot be reached, or does not give what is asked for
 */
export async function withApiClient<T>(
  choice: ClusterChoice,
  act: (client: ApiClient) => Promise<T>,
): Promise<T> {
  const { kubeconfigServer } = await import('../kube/kubeconfig.ts');
  const { ApiClient: Client } = await import('../kube/api-client.ts');
  const { ApiError } = await import('../kube/api-error.ts');
  const client = new Client(await kubeconfigServer(choice));
  try {
    return await act(client);
  } catch (error) {
    if (error instanceof ApiError)
      throw new UserError(error.message, { exitCode: EXIT.failure, cause: error });
    throw error;
  } finally {
    await client.close();
  }
}
