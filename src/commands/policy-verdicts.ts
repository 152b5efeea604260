import { once } from 'node:events';
import { Command } from 'commander';

/** Longest line of the input, in bytes. */
const LONGEST_LINE = 64 << 20;

const HELP = `
Each line of standard input is a JSON object, and gets one line of standard output, in order:

  {"manifests": [OBJECT...], "probes": [{"from": END, "to": END, "port": NUMBER, "protocol": "TCP"}...], "dns": {"NAME": ["ADDRESS"...]}}
  {"verdicts": ["allow" | "deny"...], "refused": ["Kind namespace/name: reason"...]}

An END is NAMESPACE/POD, ip:ADDRESS or, as a destination, fqdn:NAME. An address that a live pod owns means that pod. The port is
the one at the destination, after all address translation. Objects that the API server would refuse are listed in "refused"
and do not count. A line that is no such object gets {"error": "..."}. A probe that cannot be asked (no such pod, no such
port) counts as "deny" and is told in "errors".

Example:
  $ jq -c '{manifests: .items, probes: [{from: "shop/web", to: "shop/db", port: 5432}]}' cluster.json | countersign policy verdicts
`;

/** `countersign policy verdicts`: many questions as JSON lines. */
export function verdictsCommand(): Command {
  return new Command('verdicts')
    .description('answer many questions: JSON lines in, JSON lines out')
    .addHelpText('after', HELP)
    .action(async () => {
      const { linesOf } = await import('../policy-tools/lines.ts');
      const { answerLine } = await import('../policy-tools/verdicts.ts');
      const { stdin, stdout } = process;
      for await (const line of linesOf(stdin, LONGEST_LINE)) {
        const answer =
          'text' in line
            ? answerLine(line.text)
            : { error: `the line has ${line.tooLong} bytes; ${LONGEST_LINE} is the most` };
        if (!stdout.write(`${JSON.stringify(answer)}\n`)) await once(stdout, 'drain');
      }
    });
}
