/** Tells how far a run is and how long the rest will take, on standard error. */
export class Progress {
  readonly #begin = performance.now();
  readonly #steps: number;
  readonly #print: (line: string) => void;
  #done = 0;

  /** @param steps steps of about the same length */
  constructor(steps: number, print: (line: string) => void = (line) => process.stderr.write(line)) {
    this.#steps = steps;
    this.#print = print;
  }

  /** So many steps are done. */
  step(what: string, steps = 1): void {
    this.#done = Math.min(this.#steps, this.#done + steps);
    const seconds = (performance.now() - this.#begin) / 1000;
    const left = (seconds / this.#done) * (this.#steps - this.#done);
    const share = Math.round((this.#done / this.#steps) * 100);
    this.#print(`${String(share).padStart(3)} %  ${what}; about ${duration(left)} left\n`);
  }
}

/** `40 s`, `3 min`. */
export function duration(seconds: number): string {
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
