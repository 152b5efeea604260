import { Command, Option } from 'commander';
import { setting } from '../config.ts';
import { EXIT, UserError } from '../errors.ts';
import type { Pod } from '../inject/pod.ts';
import { dnsLabelFault } from '../policy/syntax.ts';
import { withApiClient } from './cluster-input.ts';

/** `countersign status`. */
export function statusCommand(): Command {
  return new Command('status')
    .description(
      "tell how a sidecar is: identity and its end, age of policy, redirection, connections; with a pod over the API server, else over the admin socket, so inside the sidecar's pod",
    )
    .argument('[pod]', 'NAMESPACE/POD, or POD with -n')
    .addOption(
      setting('--admin-socket <path>', 'where the sidecar serves it').default('/run/countersign/admin.sock'),
    )
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .option('--kubeconfig <file>', 'of the cluster, with a pod; by default the one that kubectl uses')
    .option('--context <name>', 'the context of the kubeconfig')
    .option('-n, --namespace <name>', 'of a pod that names none', 'default')
    .action(async (pod: string | undefined, options: Options) => {
      const { status, text } = pod === undefined ? await ownStatus(options) : await statusOf(pod, options);
      process.stdout.write(options.output === 'json' ? `${JSON.stringify(status, undefined, 2)}\n` : text);
      if (status['ready'] !== true) process.exitCode = EXIT.failure;
    });
}

interface Options {
  readonly adminSocket: string;
  readonly output: 'text' | 'json';
  readonly namespace: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

interface Told {
  readonly status: Readonly<Record<string, unknown>>;
  readonly text: string;
}

async function ownStatus({ adminSocket }: Options): Promise<Told> {
  const { readStatus, statusText } = await import('../observe/status-reader.ts');
  const status = await readStatus(adminSocket);
  return { status, text: statusText(status, Date.now()) };
}

async function statusOf(name: string, options: Options): Promise<Told> {
  const { askSidecar } = await import('../checks/ask-sidecar.ts');
  const { podStatus, podStatusText } = await import('../checks/pod-status.ts');
  const parts = name.replace(/^pod\//, '').split('/');
  const [namespace = '', pod = ''] = parts.length === 1 ? [options.namespace, ...parts] : parts;
  if (parts.length > 2 || dnsLabelFault(namespace) !== undefined || !/^[a-z0-9.-]{1,253}$/.test(pod))
    throw new UserError(`${name}: write NAMESPACE/POD, or POD with -n`);
  const found = await withApiClient(options, async (client) => {
    const object = (await client.get(`/api/v1/namespaces/${namespace}/pods/${pod}`)) as Pod;
    return podStatus(object, await askSidecar(client, object), Date.now());
  });
  return { status: { ...found, ready: found.sidecar === 'ready' }, text: podStatusText(found) };
}
