/**
 * Counts the packets that a full socket cost. The kernel numbers the packets of a queue one by one and finds out afterwards that there is no room for
 * one (`__nfqnl_enqueue_packet`), so that a number that is missing is a packet that was dropped. A packet that the queue's own length keeps out gets
 * no number; so that length has to be such that the socket is full first.
 */
export class QueueGaps {
  readonly #last = new Map<number, number>();

  /** @returns how many packets were dropped between the one before in this queue and this one */
  missingBefore(queue: number, id: number): number {
    const missing = (id - (this.#last.get(queue) ?? 0) - 1) | 0;
    if (missing < 0) return 0;
    this.#last.set(queue, id);
    return missing;
  }
}
