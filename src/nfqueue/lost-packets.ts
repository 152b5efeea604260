import type { QueueStatistics } from './packet-path.ts';

/** Packets that the kernel dropped since the last look: because a queue was full, and because the socket's buffer was. */
export class LostPackets {
  readonly #seen = new Map<number, number>();

  /** @param statistics of all queues, whose counts only grow while a queue is bound */
  since(statistics: readonly QueueStatistics[]): number {
    let lost = 0;
    for (const { queue, queueDropped, userDropped } of statistics) {
      const dropped = queueDropped + userDropped;
      lost += Math.max(0, dropped - (this.#seen.get(queue) ?? 0));
      this.#seen.set(queue, dropped);
    }
    return lost;
  }
}
