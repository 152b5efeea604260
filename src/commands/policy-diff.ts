import { Command } from 'commander';
import { EXIT, UserError } from '../errors.ts';
import type { Party } from '../policy/judge.ts';
import { checkFormat, type InputOptions, readInput, withInput } from './policy-input.ts';

const HELP = `
Compared are all pairs of pods and workloads, and one address for each region that the ipBlocks make of the address space, on every
port that is named anywhere and on all others. Exit status: 0 nothing opens, 1 something opens, 2 the call or the input is wrong.

With --enrol one state is read: which flows that are allowed today would be refused if the workloads with these labels were enrolled
now and their peers were not? Exit status 1 if there are any.

Examples:
  $ countersign policy diff main/manifests/ branch/manifests/
  $ countersign policy diff old-policies/ new-policies/ -f workloads.yaml -o json
  $ countersign policy diff -f manifests/ --enrol app=db
`;

interface Options extends InputOptions {
  readonly enrol?: string;
  readonly output: string;
}

/** `countersign policy diff`: what a change opens and closes. */
export function diffCommand(): Command {
  const command = new Command('diff')
    .description('which flows a change opens and closes, before it is applied')
    .argument('[old]', 'folder, file, or - for standard input')
    .argument('[new]', 'the same after the change')
    .option('--enrol <selector>', 'which flows of today enrolling these workloads alone would refuse')
    .option('-o, --output <format>', 'text or json', 'text');
  return withInput(command, 'manifests that both states have; may be given several times')
    .addHelpText('after', HELP)
    .action(async (before: string | undefined, after: string | undefined, options: Options) => {
      const format = checkFormat(options.output, ['text', 'json']);
      const json = (value: unknown): string => JSON.stringify(value, null, 2);
      const { compareEnrolment, compareReach } = await import('../policy-tools/reach.ts');
      const { diffText, enrolmentText } = await import('../policy-tools/diff-text.ts');
      const common = options.manifests ?? [];
      if (options.enrol !== undefined) {
        if (after !== undefined) throw new UserError('--enrol asks about one state: name one place, not two');
        const { compileSelector, selectorMatches } = await import('../policy/selector.ts');
        const { parseSelector } = await import('../policy-tools/selector-syntax.ts');
        const selector = compileSelector(parseSelector(options.enrol, '--enrol'));
        const enrolled = (party: Party): boolean =>
          party.kind === 'pod' && selectorMatches(selector, party.labels);
        const now = await readInput(options, before === undefined ? common : [...common, before]);
        const { endGroups } = await import('../policy-tools/end-groups.ts');
        const names = endGroups([now], { regions: false, apart: (party) => String(enrolled(party)) })
          .filter((one) => one.parties[0] !== undefined && enrolled(one.parties[0]))
          .flatMap((one) => one.members);
        if (names.length === 0) throw new UserError(`--enrol ${options.enrol}: selects no pod or workload`);
        const { closes, scope } = compareEnrolment(now, enrolled);
        process.stdout.write(
          `${format === 'json' ? json({ enrolled: names, refused: closes, scope }) : enrolmentText({ opens: [], closes, scope }, names)}\n`,
        );
        process.exitCode = closes.length > 0 ? EXIT.failure : EXIT.ok;
        return;
      }
      if (before === undefined || after === undefined)
        throw new UserError('name the state before and the state after: policy diff OLD NEW; or use --enrol');
      if ([before, after, ...common].filter((place) => place === '-').length > 1)
        throw new UserError('standard input (-) can be read once only');
      const changes = compareReach(
        await readInput(options, [...common, before]),
        await readInput(options, [...common, after]),
      );
      process.stdout.write(`${format === 'json' ? json(changes) : diffText(changes)}\n`);
      process.exitCode = changes.opens.length > 0 ? EXIT.failure : EXIT.ok;
    });
}
