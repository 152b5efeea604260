import type { FlowRecord } from './record.ts';

/** The last flow records, oldest first: what the admin socket shows where no flow log is written. */
export class RecentFlows {
  readonly #capacity: number;
  readonly #records: FlowRecord[] = [];
  #oldest = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  add(record: FlowRecord): void {
    if (this.#records.length < this.#capacity) {
      this.#records.push(record);
      return;
    }
    this.#records[this.#oldest] = record;
    this.#oldest = (this.#oldest + 1) % this.#capacity;
  }

  list(): readonly FlowRecord[] {
    return [...this.#records.slice(this.#oldest), ...this.#records.slice(0, this.#oldest)];
  }
}
