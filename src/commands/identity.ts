import { Command, Option } from 'commander';
import { setting } from '../config.ts';
import { EXIT, UserError } from '../errors.ts';

/** `countersign identity init|issue|psk|show`. */
export function identityCommand(): Command {
  const identity = new Command('identity').description('make trust domains, issue and inspect identities');
  identity
    .command('init')
    .description(
      'make a trust domain: DIR/issuer.jwk (private, signs identities) and DIR/trust.jwks (for everybody)',
    )
    .addOption(trustDomain())
    .addOption(required('--out <dir>', 'folder to write to; made if missing'))
    .option('--force', 'replace an issuer key that is there: every identity that it signed ends', false)
    .action(async (options: { trustDomain: string; out: string; force: boolean }) => {
      const { initTrustDomain } = await import('../identity/files.ts');
      for (const file of initTrustDomain(options.trustDomain, options.out, options.force))
        say(`wrote ${file}`);
    });
  identity
    .command('psk')
    .description('make a pre-shared secret: whoever holds it is trusted with any label')
    .addOption(trustDomain())
    .addOption(required('--out <file>', 'file to write'))
    .option('--force', 'replace a file that is there', false)
    .action(async (options: { trustDomain: string; out: string; force: boolean }) => {
      const { writeSharedSecret } = await import('../identity/files.ts');
      writeSharedSecret(options.trustDomain, options.out, options.force);
      say(`wrote ${options.out}`);
    });
  identity
    .command('issue')
    .description(
      "sign a pod's identity, with labels as the manifests have them: DIR/token.jwt and DIR/key.jwk",
    )
    .addOption(required('--issuer-key <file>', "the issuer's private key, from identity init"))
    .addOption(required('--manifests <dir>', 'folder of YAML or JSON with the Pod and its Namespace'))
    .addOption(required('--pod <namespace/name>', 'the pod'))
    .addOption(setting('--ttl <duration>', 'how long it is valid: 30s, 90m, 4h; at most 24h').default('4h'))
    .addOption(
      required('--out <dir>', 'folder to write to; made if missing; a key.jwk that is there is kept'),
    )
    .action(
      async (options: { issuerKey: string; manifests: string; pod: string; ttl: string; out: string }) => {
        const { issueIdentity } = await import('../identity/files.ts');
        const { findPod } = await import('../sources/manifest-folder.ts');
        const ttl = parseDuration(options.ttl, '--ttl');
        const { pod, namespaceLabels } = await findPod(options.manifests, options.pod);
        const files = await issueIdentity(options.issuerKey, pod, namespaceLabels, ttl, options.out);
        for (const file of files) say(`wrote ${file}`);
      },
    );
  identity
    .command('show')
    .description('print what a token says; with --trust also whether it is accepted')
    .argument('<file>', 'the token')
    .addOption(setting('--trust <file>', 'trust bundle or pre-shared secret to verify it with'))
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action(async (file: string, options: { trust?: string; output: 'text' | 'json' }) => {
      const { showIdentity } = await import('../identity/files.ts');
      const { text, accepted } = showIdentity(file, options.trust, options.output);
      process.stdout.write(`${text}\n`);
      if (!accepted) process.exitCode = EXIT.failure;
    });
  return identity;
}

function trustDomain(): Option {
  return required('--trust-domain <name>', 'name of the trust domain, for instance cluster.local');
}

function required(flags: string, description: string): Option {
  return setting(flags, description).makeOptionMandatory();
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600 };

/** Reads `30s`, `90m`, `4h`. @returns seconds */
function parseDuration(text: string, flag: string): number {
  const match = /^(\d{1,6})([smh])$/.exec(text);
  const seconds = match === null ? 0 : Number(match[1]) * UNITS[match[2]!]!;
  if (seconds < 1 || seconds > 24 * 3600) {
    throw new UserError(`${flag} ${text}: has to be a time like 30s, 90m or 4h, at most 24h`);
  }
  return seconds;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
