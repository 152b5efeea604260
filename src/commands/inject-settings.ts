import type { Command } from 'commander';
import { setting } from '../config.ts';
import { checkSettings, DEFAULT_SETTINGS, type InjectSettings } from '../inject/settings.ts';

/** The flags of {@link injectSettingsFlags}, as commander gives them. */
export interface InjectFlags {
  readonly image: string;
  readonly imagePullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
  readonly proxyUid: string;
  readonly authority: string;
  readonly audience: string;
  readonly caConfigmap: string;
  readonly nodeTraffic: InjectSettings['nodeTraffic'];
  readonly classic: boolean;
  readonly cpuRequest: string;
  readonly memoryRequest: string;
  readonly memoryLimit: string;
  readonly drain: string;
  readonly sidecarLogLevel: InjectSettings['logLevel'];
}

/** The flags by which an installation says what its sidecars are like. */
export function injectSettingsFlags(
  command: Command,
  defaults: { readonly image?: string; readonly authority?: string } = {},
): Command {
  const d = DEFAULT_SETTINGS;
  const image = setting('--image <image>', 'image of sidecar and init step');
  return command
    .addOption(defaults.image === undefined ? image.makeOptionMandatory() : image.default(defaults.image))
    .addOption(
      setting(
        '--image-pull-policy <policy>',
        "when kubelet pulls it; by default Kubernetes' own rule",
      ).choices(['Always', 'IfNotPresent', 'Never']),
    )
    .addOption(
      setting('--proxy-uid <uid>', 'user that the sidecar runs as, and nobody else').default(
        String(d.proxyUid),
      ),
    )
    .addOption(
      setting('--authority <url>', 'the authority, as sidecars reach it').default(
        defaults.authority ?? 'https://countersign-authority.countersign-system.svc:14443',
      ),
    )
    .addOption(
      setting('--audience <name>', "audience of the sidecars' service-account token").default(d.audience),
    )
    .addOption(
      setting('--ca-configmap <name>', "ConfigMap with the authority's certificates").default(d.caConfigMap),
    )
    .addOption(
      setting('--node-traffic <which>', 'what the own node may reach unproven')
        .choices(['probes', 'all', 'none'])
        .default(d.nodeTraffic),
    )
    .addOption(setting('--classic', 'an ordinary container instead of a native sidecar').default(d.classic))
    .addOption(setting('--cpu-request <quantity>', 'CPU that a sidecar requests').default(d.cpuRequest))
    .addOption(
      setting('--memory-request <quantity>', 'memory that a sidecar requests').default(d.memoryRequest),
    )
    .addOption(
      setting('--memory-limit <quantity>', 'memory that a sidecar may use; its heap follows').default(
        d.memoryLimit,
      ),
    )
    .addOption(
      setting('--drain <seconds>', 'how long open connections may last after SIGTERM').default(
        String(d.drainSeconds),
      ),
    )
    .addOption(
      setting('--sidecar-log-level <level>', 'of the sidecars: debug, info, warn or error')
        .choices(['debug', 'info', 'warn', 'error'])
        .default(d.logLevel),
    );
}

/**
 * The settings that flags mean.
 * @throws UserError naming flag, value and remedy
 */
export function injectSettingsOf(flags: InjectFlags): InjectSettings {
  const { proxyUid, caConfigmap, drain } = flags;
  const settings: InjectSettings = {
    image: flags.image,
    authority: flags.authority,
    audience: flags.audience,
    nodeTraffic: flags.nodeTraffic,
    classic: flags.classic,
    cpuRequest: flags.cpuRequest,
    memoryRequest: flags.memoryRequest,
    memoryLimit: flags.memoryLimit,
    logLevel: flags.sidecarLogLevel,
    imagePullPolicy: flags.imagePullPolicy,
    caConfigMap: caConfigmap,
    proxyUid: Number(proxyUid),
    drainSeconds: Number(drain),
  };
  checkSettings(settings);
  return settings;
}
