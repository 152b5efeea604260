import type { Logger } from 'pino';
import type { Curves } from '../lib/curves.ts';
import { FlowReporter } from '../observe/flow-reporter.ts';
import { Metrics } from '../observe/metrics.ts';
import { candidateEndpoints } from '../peers/endpoint-choice.ts';
import { NativeDataPath } from '../relay/native-data-path.ts';
import type { FlowEnding, FlowFacts, FlowSink } from './flow.ts';
import type { Judgement } from './judgement.ts';
import { Proxy } from './proxy.ts';
import { RehearsedPath } from './rehearsed-path.ts';
import { DESTINATIONS, type RehearsedPod, rehearsedPods } from './rehearsed-pods.ts';

/** Longer than anything in it may take on a machine that has other things to do. */
const PATIENCE_MS = 20_000;

/**
 * Plays first contacts between two sidecars that exist for it alone, from the accepted socket to the record: everything that the life of a connection runs through
 * in TypeScript is called, and so compiled, and OpenSSL has looked up what it needs. A first contact in a process that never made one costs several times what a
 * later one does. Nothing that is in force takes part, no socket is opened, and nothing is left but warm code.
 */
export class Rehearsal {
  readonly #pods: readonly RehearsedPod[];
  readonly #paths: readonly RehearsedPath[];
  readonly #proxies: readonly Proxy[];
  #played = 0;
  #judged: { readonly facts: FlowFacts; readonly judgement: Judgement }[] = [];
  #recorded = 0;
  #onNews: () => void = () => {};
  #defect: { readonly error: unknown } | undefined;

  constructor(curves: Curves) {
    this.#pods = rehearsedPods(curves);
    const paths = this.#pods.map(({ address }) => new RehearsedPath(address));
    RehearsedPath.join(paths[0]!, paths[1]!);
    this.#paths = paths;
    const metrics = new Metrics('rehearsal', () => {
      throw new Error('nobody reads these');
    });
    const reporter = new FlowReporter(metrics, SILENT, undefined);
    const sink: FlowSink = {
      counted: (facts, judgement, elapsedMs) => {
        reporter.counted(facts, judgement, elapsedMs);
        this.#judged.push({ facts, judgement });
        this.#onNews();
      },
      recorded: (facts: FlowFacts, judgement: Judgement, ending: FlowEnding) => {
        reporter.recorded(facts, judgement, ending);
        this.#recorded++;
        this.#onNews();
      },
      relayed: (bytesIn, bytesOut) => reporter.relayed(bytesIn, bytesOut),
    };
    this.#proxies = this.#pods.map(
      ({ address, source, identity }, index) =>
        new Proxy({
          source,
          identity,
          generateEphemeral: curves.generateEphemeral,
          createDataPath: (events) => new NativeDataPath(paths[index]!, events),
          sink,
          candidates: (service, among) =>
            candidateEndpoints(service, among, source.snapshot?.self.nodeName, 0),
          isLocalAddress: (asked) => asked === address,
          nodeTraffic: 'probes',
          onEvaluated: (direction, seconds) => metrics.decided(direction, seconds),
          onDefect: (error) => {
            this.#defect ??= { error };
            this.#onNews();
          },
        }),
    );
  }

  /**
   * One first contact: neither side knows the other, nor what it knew before.
   * @returns whether both sides proved themselves in full and were allowed, by the policy that says so
   */
  async play(): Promise<boolean> {
    for (const pod of this.#pods) pod.forget();
    for (const proxy of this.#proxies) proxy.identityChanged();
    this.#judged = [];
    this.#recorded = 0;
    const over = performance.now() + PATIENCE_MS;
    const [path] = this.#paths;
    path!.call(DESTINATIONS[this.#played++ % DESTINATIONS.length]!);
    await this.#until(() => this.#judged.length === 2 || this.#recorded > 0, over);
    const isRight = this.#judged.length === 2 && this.#judged.every(isFullAndAllowed);
    path!.finish();
    await this.#until(() => this.#recorded === 2, over);
    return isRight && this.#recorded === 2;
  }

  async close(): Promise<void> {
    for (const proxy of this.#proxies) await proxy.close();
  }

  /** Waits until it is so, or until then. Throws what a life threw. */
  async #until(isSo: () => boolean, over: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, over - performance.now()).unref();
      this.#onNews = () => {
        if (this.#defect === undefined && !isSo()) return;
        clearTimeout(timer);
        resolve();
      };
      this.#onNews();
    });
    this.#onNews = () => {};
    if (this.#defect !== undefined) throw this.#defect.error;
  }
}

function isFullAndAllowed({ facts, judgement }: { facts: FlowFacts; judgement: Judgement }): boolean {
  const { verdict, reason } = judgement;
  return facts.handshake === 'full' && verdict === 'allow' && reason === 'policy-allowed';
}

/** What happens in a rehearsal is nobody's business. */
const SILENT = { isLevelEnabled: () => false } as unknown as Logger;
