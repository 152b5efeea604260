import { Command } from 'commander';
import { EXIT, UserError } from '../errors.ts';
import { checkFormat, type InputOptions, readInput, withInput } from './policy-input.ts';

const HELP = `
An end is NAMESPACE/POD, NAMESPACE/KIND/NAME of a workload (deploy, sts, ds, rs, job, cronjob; it stands for one pod of its
template), or an IP address; an address that a live pod owns means that pod.
Exit status: 0 allowed, 3 denied, 2 the call or the input is wrong.

Examples:
  $ countersign policy explain -f manifests/ --from shop/deploy/web --to shop/sts/db --port 5432
  $ helm template shop ./chart | countersign policy explain -f - -n shop --from deploy/web --to 192.0.2.7 --port 443
  $ kubectl get pods,namespaces,nodes,networkpolicies -A -o yaml > all.yaml; countersign policy explain -f all.yaml --from 10.0.0.7 --to shop/db-0 --port pg
`;

interface Options extends InputOptions {
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly protocol?: string;
  readonly output: string;
}

/** `countersign policy explain`: one question, with the reasons. */
export function explainCommand(): Command {
  const command = new Command('explain')
    .description('may one end call the other, which rule says so, and what would have to change')
    .requiredOption('--from <end>', 'who calls')
    .requiredOption('--to <end>', 'who is called')
    .requiredOption(
      '--port <port>',
      'number, or name of a port of the destination; after all address translation',
    )
    .option('--protocol <protocol>', 'TCP, UDP or SCTP (default: TCP, or that of the named port)')
    .option('-o, --output <format>', 'text or json', 'text');
  return withInput(command, 'folder, file, or - for standard input; may be given several times')
    .addHelpText('after', HELP)
    .action(async (options: Options) => {
      const format = checkFormat(options.output, ['text', 'json']);
      const { Ends } = await import('../workloads/ends.ts');
      const { explain } = await import('../policy/explain.ts');
      const { findEnd, findPort, parseProtocol } = await import('../policy-tools/question.ts');
      const { explanationJson, explanationText } = await import('../policy-tools/explain-text.ts');
      const protocol = parseProtocol(options.protocol);
      const inventory = await readInput(options);
      const ends = new Ends(inventory);
      const from = findEnd(options.from, '--from', ends, inventory, options.namespace);
      const to = findEnd(options.to, '--to', ends, inventory, options.namespace);
      if (from.kind === 'address' && to.kind === 'address') {
        throw new UserError(
          `neither --from ${options.from} nor --to ${options.to} is a pod that policies apply to: no NetworkPolicy has a say between them`,
        );
      }
      const { policies, clusterPolicies } = inventory;
      const question = { policies, clusterPolicies, from, to, ...findPort(options.port, protocol, to) };
      const answer = explain(question);
      process.stdout.write(
        format === 'json'
          ? `${JSON.stringify(explanationJson(question, answer), null, 2)}\n`
          : `${explanationText(question, answer)}\n`,
      );
      process.exitCode = answer.verdict === 'allow' ? EXIT.ok : EXIT.deny;
    });
}
