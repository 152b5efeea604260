import { Command } from 'commander';
import { EXIT, UserError } from '../errors.ts';
import type { Federation } from '../identity/federation.ts';
import type { Party } from '../policy/judge.ts';
import { checkFormat, type InputOptions, readInput, withInput } from './policy-input.ts';

const HELP = `
An end is NAMESPACE/POD, NAMESPACE/KIND/NAME of a workload (deploy, sts, ds, rs, job, cronjob; it stands for one pod of its
template), or an IP address; an address that a live pod owns means that pod. With --federation also DOMAIN/NAMESPACE/POD of another
trust domain, with its labels there: it is judged as the pod that this cluster takes it for.
Exit status: 0 allowed, 3 denied, 2 the call or the input is wrong.

Examples:
  $ countersign policy explain -f manifests/ --from shop/deploy/web --to shop/sts/db --port 5432
  $ helm template shop ./chart | countersign policy explain -f - -n shop --from deploy/web --to 192.0.2.7 --port 443
  $ countersign policy explain --federation federation.yaml --from east.example/shop/web --from-labels app=web --to shop/db-0 --port pg
  $ kubectl get pods,namespaces,nodes,networkpolicies -A -o yaml > all.yaml; countersign policy explain -f all.yaml --from 10.0.0.7 --to shop/db-0 --port pg
`;

interface Options extends InputOptions {
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly protocol?: string;
  readonly output: string;
  readonly federation?: string;
  readonly fromLabels?: string;
  readonly toLabels?: string;
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
    .option(
      '--federation <file>',
      'trust bundle, or what an authority has as --federation: an end may be DOMAIN/NAMESPACE/POD of a trust domain in it',
    )
    .option('--from-labels <labels>', 'labels of a caller of another trust domain, there: app=web,tier=front')
    .option('--to-labels <labels>', 'labels of a called pod of another trust domain, there')
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
      const { checkKnown, findForeignEnd } = await import('../policy-tools/foreign-end.ts');
      const federation = await federationOf(options.federation);
      const end = (text: string, flag: string, labels: string | undefined): Party => {
        const foreign = findForeignEnd(text, flag, federation, labels);
        if (foreign !== undefined) return foreign;
        if (labels === undefined) return findEnd(text, flag, ends, inventory, options.namespace);
        throw new UserError(
          `${flag}-labels: ${flag} ${text} is of no trust domain in --federation; labels of other pods come from the manifests or the cluster`,
        );
      };
      const from = end(options.from, '--from', options.fromLabels);
      const to = end(options.to, '--to', options.toLabels);
      if ([from, to].every((one) => one.kind === 'pod' && one.foreignDomain !== undefined)) {
        throw new UserError(
          '--from and --to are both of other trust domains: no policy here has a say between them',
        );
      }
      checkKnown(from, to, federation);
      checkKnown(to, from, federation);
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

async function federationOf(file: string | undefined): Promise<Federation> {
  if (file === undefined) return new Map();
  const { readSmallFile } = await import('../identity/file-identity.ts');
  const { readFederation } = await import('../policy-tools/foreign-end.ts');
  return readFederation(await readSmallFile(file), file);
}
