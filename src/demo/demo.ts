import { EXIT } from '../errors.ts';
import { installed } from '../installation.ts';
import { Cast } from './cast.ts';
import { JsonReport, TextReport } from './report.ts';
import { Story } from './story.ts';
import { byHand, STATE, World } from './world.ts';

export interface DemoOptions {
  readonly mode: 'redirect' | 'nfqueue';
  readonly output: 'text' | 'json';
  readonly manifests?: string;
  readonly keep: boolean;
}

/** Plays the demo. Whatever happens, nothing stays behind. */
export async function playDemo(options: DemoOptions): Promise<void> {
  const report = options.output === 'json' ? new JsonReport() : new TextReport(process.stdout.isTTY);
  const original = options.manifests ?? installed('manifests/demo');
  let world: World | undefined;
  // Before anything is made: a signal that comes meanwhile waits for its end.
  const onSignal = (signal: NodeJS.Signals): void => {
    world?.close();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onSignal);
  world = World.open();
  try {
    const cast = new Cast(world, original, options.mode);
    report.note(
      'The Beer of the Day: each pod is a network namespace with its own address, netfilter rules and sidecar; its application knows nothing of them.',
    );
    await cast.read();
    await cast.start(report);
    const good = await new Story(cast, report).tell();
    report.note(
      good
        ? '\nEverything came out as expected.'
        : '\nSomething came out otherwise: see the lines marked FAIL.',
    );
    if (!good) process.exitCode = EXIT.failure;
    if (options.keep && options.output === 'text') {
      report.note(`
The pods stay until Ctrl-C. In another terminal:
  ${byHand('unapproved')} curl http://10.96.0.80/          a beer, or not
  ${byHand('beer-0')} curl -s localhost:14020/metrics     counters
  tail -f ${STATE}/*.flows                         every connection, with its reason
  edit ${STATE}/manifests/                         policies and labels, as you like`);
      await new Promise(() => setInterval(() => {}, 60_000));
    }
    report.note(`
To look further:
  bin/countersign demo --keep                      leaves the pods up, to try things by hand
  edit manifests/demo/pods.yaml                    move the label, and another pod drinks
  bin/countersign policy explain -f manifests/demo --from pub/unapproved --to pub/beer-0 --port 8080
                                                   why, and what would have to change
  bin/countersign identity --help                  how identities are made
  docs/protocol.md, docs/security.md               what is proven, and against whom`);
  } finally {
    world.close();
  }
}
