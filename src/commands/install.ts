import { Command } from 'commander';
import { setting } from '../config.ts';
import { programVersion } from '../version.ts';
import { type InjectFlags, injectSettingsFlags, injectSettingsOf } from './inject-settings.ts';
import type { InstallOptions } from '../install/options.ts';

interface InstallFlags extends InjectFlags {
  readonly namespace: string;
  readonly trustDomain: string;
  readonly replicas: string;
  readonly monitoring: boolean;
  readonly runbookUrl?: string;
}

/** `countersign install`: what `kubectl apply -f -` makes an installation of. */
export function installCommand(): Command {
  return installFlags(new Command('install'))
    .description(
      'print the objects of an installation, for kubectl apply -f -: the same flags give the same text, with no secret in it',
    )
    .action(async (flags: InstallFlags) => {
      const { installObjects } = await import('../install/install.ts');
      await print(installObjects(optionsOf(flags)));
    });
}

/** `countersign uninstall`: the same objects the other way round, for `kubectl delete -f -`. */
export function uninstallCommand(): Command {
  return installFlags(new Command('uninstall'))
    .description(
      'print the objects of an installation in the order in which they go, for kubectl delete --ignore-not-found -f -; sidecars go with the label and a restart of their pods',
    )
    .action(async (flags: InstallFlags) => {
      const { installObjects } = await import('../install/install.ts');
      const objects = installObjects({ ...optionsOf(flags), monitoring: flags.monitoring });
      await print(
        objects.toReversed().map(({ apiVersion, kind, metadata: { name, namespace } }) => ({
          apiVersion,
          kind,
          metadata: namespace === undefined ? { name } : { name, namespace },
        })),
      );
    });
}

function installFlags(command: Command): Command {
  command
    .addOption(
      setting('-n, --namespace <name>', 'where authority and injector run').default('countersign-system'),
    )
    .addOption(setting('--trust-domain <name>', 'name of the trust domain').default('cluster.local'))
    .addOption(setting('--replicas <count>', 'of authority and of injector').default('2'))
    .addOption(
      setting(
        '--monitoring',
        "PodMonitors and alerting rules too, for the Prometheus operator's kinds",
      ).default(false),
    )
    .addOption(
      setting(
        '--runbook-url <url>',
        'where docs/runbook.md can be read: alerts link to its sections (with --monitoring)',
      ),
    );
  return injectSettingsFlags(command, {
    image: `countersign:${programVersion()}`,
    authority: 'https://countersign-authority.NAMESPACE.svc:14443',
  });
}

function optionsOf(flags: InstallFlags): InstallOptions {
  const { namespace, trustDomain, replicas, monitoring, runbookUrl, ...sidecars } = flags;
  const authority = sidecars.authority.replace('NAMESPACE', namespace);
  return {
    namespace,
    trustDomain,
    replicas: Number(replicas),
    monitoring,
    runbookUrl,
    sidecars: injectSettingsOf({ ...sidecars, authority }),
  };
}

async function print(objects: readonly object[]): Promise<void> {
  const { stringify } = await import('yaml');
  const texts = objects.map((object) =>
    stringify(object, { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false }),
  );
  process.stdout.write(texts.join('---\n'));
}
