import { Command } from 'commander';
import { UserError } from '../errors.ts';
import { checkFormat, type InputOptions, readInput, withInput } from './policy-input.ts';

const HELP = `
Ends that no policy tells apart (replicas, mostly) are one row. Exit status: 0, or 2 when the call or the input is wrong.

Examples:
  $ countersign policy matrix -f manifests/ --port 8080
  $ countersign policy matrix -f manifests/ --port http --address 192.0.2.7 -o csv > reach.csv
  $ kustomize build overlays/prod | countersign policy matrix -f - --port 5432 -o mermaid
`;
const FORMATS = ['table', 'json', 'csv', 'mermaid', 'dot'] as const;

interface Options extends InputOptions {
  readonly port: string;
  readonly protocol: string;
  readonly address?: readonly string[];
  readonly output: string;
}

/** `countersign policy matrix`: who can reach whom on a port. */
export function matrixCommand(): Command {
  const command = new Command('matrix')
    .description('who can reach whom on a port')
    .requiredOption('--port <port>', 'number, or a name, which each destination has for a port of its own')
    .option('--protocol <protocol>', 'TCP, UDP or SCTP', 'TCP')
    .option(
      '--address <ip>',
      'an address outside the cluster to ask about too; may be given several times',
      (address: string, before: readonly string[] | undefined) => [...(before ?? []), address],
    )
    .option('-o, --output <format>', FORMATS.join(', '), 'table');
  return withInput(command, 'folder, file, or - for standard input; may be given several times')
    .addHelpText('after', HELP)
    .action(async (options: Options) => {
      const format = checkFormat(options.output, FORMATS);
      const { canonicalAddress } = await import('../lib/address.ts');
      const { parseProtocol } = await import('../policy-tools/question.ts');
      const { matrixOf } = await import('../policy-tools/matrix.ts');
      const text = await import('../policy-tools/matrix-text.ts');
      const protocol = parseProtocol(options.protocol) ?? 'TCP';
      const { port } = options;
      if (/^\d+$/.test(port) && (Number(port) < 1 || Number(port) > 65_535))
        throw new UserError(`--port ${port}: has to be from 1 to 65535`);
      const addresses = (options.address ?? []).map((one) => {
        const address = canonicalAddress(one);
        if (address === undefined) throw new UserError(`--address ${one}: is no IP address`);
        return address;
      });
      const matrix = matrixOf(await readInput(options), port, protocol, addresses);
      if (matrix.ends.length === 0) throw new UserError('the manifests have no pod or workload to ask about');
      const print = {
        table: text.matrixTable,
        json: (value: typeof matrix) => JSON.stringify(value, null, 2),
        csv: text.matrixCsv,
        mermaid: text.matrixMermaid,
        dot: text.matrixDot,
      };
      process.stdout.write(`${print[format](matrix)}\n`);
    });
}
