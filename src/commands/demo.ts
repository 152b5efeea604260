import { Command } from 'commander';
import { setting } from '../config.ts';

/** `countersign demo`. */
export function demoCommand(): Command {
  return new Command('demo')
    .description(
      'play the whole thing on this machine, in network namespaces (root); takes about ten seconds and leaves nothing behind',
    )
    .addOption(
      setting('--mode <mode>', 'how identity travels').choices(['redirect', 'nfqueue']).default('redirect'),
    )
    .addOption(
      setting('--output <format>', 'text, or json: one object per step')
        .choices(['text', 'json'])
        .default('text'),
    )
    .addOption(setting('--manifests <dir>', "play with an own copy of the checkout's manifests/demo"))
    .addOption(setting('--keep', 'leave the pods up until Ctrl-C').default(false))
    .action(
      async (flags: {
        mode: 'redirect' | 'nfqueue';
        output: 'text' | 'json';
        manifests?: string;
        keep: boolean;
      }) => {
        const { playDemo } = await import('../demo/demo.ts');
        await playDemo(flags);
      },
    );
}
