import { Command } from 'commander';
import { setting } from '../config.ts';
import { EXIT, UserError } from '../errors.ts';
import { programVersion } from '../version.ts';
import { type InjectFlags, injectSettingsFlags, injectSettingsOf } from './inject-settings.ts';

const FILES = '-f, --filename <place>';
const FILES_HELP = 'folder, file or - of YAML or JSON; may be given more than once';

/** `countersign inject`: what the injector does to pods, done to manifests. */
export function injectCommand(): Command {
  const command = new Command('inject')
    .description(
      'put the sidecar into the pods and pod templates of manifests, as the injector would at admission',
    )
    .addOption(setting(FILES, FILES_HELP).argParser(collect).makeOptionMandatory());
  return injectSettingsFlags(command).action(async (flags: InjectFlags & { filename: string[] }) => {
    const settings = injectSettingsOf(flags);
    const { injectPod } = await import('../inject/inject-pod.ts');
    const { mapPods } = await import('../inject/templates.ts');
    const { namespacesAmong } = await import('../inject/namespaces.ts');
    const objects = await read(flags.filename);
    const namespaces = namespacesAmong(objects);
    const refused: string[] = [];
    const changed = objects.map((object) =>
      mapPods(object, (pod, name, workload) => {
        const namespace = namespaces.get(name) ?? { name, labels: {}, annotations: {} };
        const result = injectPod(pod, namespace, settings, programVersion());
        if (result.outcome === 'injected') {
          say(`${workload}: injected`);
          return result.pod;
        }
        if (result.outcome === 'skipped') say(`${workload}: left as it is: ${result.reason}`);
        else refused.push(...result.problems.map((problem) => `${workload}: ${problem}`));
        return pod;
      }),
    );
    if (refused.length > 0) throw new UserError(refused.join('\ncountersign: '), { exitCode: EXIT.usage });
    await print(changed);
  });
}

/** `countersign uninject`: takes sidecar and label off again. */
export function uninjectCommand(): Command {
  return new Command('uninject')
    .description('take the sidecar, and the label that asks for one, out of manifests')
    .addOption(setting(FILES, FILES_HELP).argParser(collect).makeOptionMandatory())
    .action(async (flags: { filename: string[] }) => {
      const { uninjectPod } = await import('../inject/uninject-pod.ts');
      const { mapPods } = await import('../inject/templates.ts');
      await print((await read(flags.filename)).map((object) => mapPods(object, uninjectPod)));
    });
}

async function read(places: readonly string[]): Promise<unknown[]> {
  const { readManifests } = await import('../workloads/read-manifests.ts');
  return (await readManifests(places)).map(({ value }) => value);
}

async function print(objects: readonly unknown[]): Promise<void> {
  const { stringify } = await import('yaml');
  process.stdout.write(
    objects
      .map((object) => stringify(object, { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false }))
      .join('---\n'),
  );
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
