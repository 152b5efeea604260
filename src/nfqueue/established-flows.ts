import type { Judgement } from '../proxy/judgement.ts';
import type { FallbackMemory } from './fallback-memory.ts';
import type { FlowTable } from './flow-table.ts';
import type { QueueProxyOptions } from './queue-proxy-options.ts';
import type { QueuedFlow } from './queued-flow.ts';

/**
 * Connections that the packets of this turn have established. They are counted, kept and given passes behind the verdicts of those packets, for which applications
 * wait; but in the same turn, and before anything else becomes of one of them: nobody asks in between.
 */
export class EstablishedFlows {
  readonly #options: QueueProxyOptions;
  readonly #table: FlowTable;
  readonly #fallback: FallbackMemory;
  #untold: { readonly one: QueuedFlow; readonly standing: Judgement }[] = [];

  /** @param fallback addresses that were turned away from */
  constructor(options: QueueProxyOptions, table: FlowTable, fallback: FallbackMemory) {
    this.#options = options;
    this.#table = table;
    this.#fallback = fallback;
  }

  /** Whether nothing is left for {@link tell}. */
  get isEmpty(): boolean {
    return this.#untold.length === 0;
  }

  add(one: QueuedFlow, standing: Judgement): void {
    this.#untold.push({ one, standing });
  }

  /** Counts, keeps and lets be judged again from here on what was added. */
  tell(): void {
    if (this.isEmpty) return;
    const untold = this.#untold;
    this.#untold = [];
    for (const { one, standing } of untold) {
      try {
        this.#table.settle(one);
        one.opened();
        one.flow.judge(standing);
        this.#options.around.open.add(one.flow);
        this.#options.onVerified?.(one);
        this.#givePassSoon(one);
      } catch (error) {
        this.#options.onDefect(error);
      }
    }
  }

  #givePassSoon(one: QueuedFlow): void {
    const { givePass } = one;
    one.givePass = undefined;
    if (givePass === undefined) return;
    // An address that was turned away from in the meantime is not called by SYNs with a Hello: the SYN of a call that turned would bear a second one.
    const { address } = one.flow.facts.destination;
    const hasTurned = (): boolean => one.outgoing && this.#fallback.has(address, performance.now());
    this.#options.around.passes.soon(() => void (hasTurned() || givePass()));
  }
}
