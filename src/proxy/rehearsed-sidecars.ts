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
import { type RehearsedPod, rehearsedPods } from './rehearsed-pods.ts';

/** Longer than anything in it may take on a machine that has other things to do. */
const PATIENCE_MS = 20_000;

type Two<T> = readonly [client: T, server: T];

/** Two sidecars that exist for a rehearsal alone, each over a path in memory, and what they say of their connections. */
export class RehearsedSidecars {
  readonly pods: Two<RehearsedPod>;
  readonly paths: Two<RehearsedPath>;
  readonly proxies: Two<Proxy>;
  #judged: { readonly facts: FlowFacts; readonly judgement: Judgement }[] = [];
  #recorded = 0;
  #onNews: () => void = () => {};
  #defect: { readonly error: unknown } | undefined;

  /** @param nfqueue whether both speak the preamble in packets, too */
  constructor(curves: Curves, nfqueue = false) {
    this.pods = rehearsedPods(curves, nfqueue);
    const [client, server] = this.pods;
    this.paths = [new RehearsedPath(client.address), new RehearsedPath(server.address)];
    RehearsedPath.join(...this.paths);
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
    const proxyOf = ({ address, source, identity }: RehearsedPod, path: RehearsedPath): Proxy =>
      new Proxy({
        source,
        identity,
        generateEphemeral: curves.generateEphemeral,
        createDataPath: (events) => new NativeDataPath(path, events),
        sink,
        candidates: (service, among) => candidateEndpoints(service, among, source.snapshot?.self.nodeName, 0),
        isLocalAddress: (asked) => asked === address,
        nodeTraffic: 'probes',
        onEvaluated: (direction, seconds) => metrics.decided(direction, seconds),
        onDefect: this.onDefect,
      });
    this.proxies = [proxyOf(client, this.paths[0]), proxyOf(server, this.paths[1])];
  }

  /** What was thrown ends the rehearsal. */
  readonly onDefect = (error: unknown): void => {
    this.#defect ??= { error };
    this.#onNews();
  };

  /**
   * One first contact: neither side knows the other, nor what it knew before.
   * @param call has the client's application call
   * @param finish ends the connection at both ends
   * @returns whether both sides proved themselves in full and were allowed, by the policy that says so
   */
  async play(call: () => void, finish: () => void): Promise<boolean> {
    for (const pod of this.pods) pod.forget();
    for (const proxy of this.proxies) proxy.identityChanged();
    this.#judged = [];
    this.#recorded = 0;
    const over = performance.now() + PATIENCE_MS;
    call();
    await this.#until(() => this.#judged.length === 2 || this.#recorded > 0, over);
    const isRight = this.#judged.length === 2 && this.#judged.every(isFullAndAllowed);
    finish();
    if (!isRight) return false;
    await this.#until(() => this.#recorded === 2, over);
    return this.#recorded === 2;
  }

  async close(): Promise<void> {
    for (const proxy of this.proxies) await proxy.close();
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
