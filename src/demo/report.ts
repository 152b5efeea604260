/** One thing that the demo tried. */
export interface Step {
  readonly step: string;
  readonly from: string;
  readonly to: string;
  readonly expected: string;
  readonly got: string;
  /** The code in the server's own record; empty when there is none to look for. */
  readonly reason: string;
}

/** Where the demo tells what it does. */
export interface Report {
  /** A new part of the story, with a sentence that explains it. */
  section(title: string, explanation: string): void;
  /** Something that takes a moment. */
  progress(text: string): void;
  step(step: Step): void;
  /** Free text, for people. */
  note(text: string): void;
}

/** One JSON object per step, and nothing else on standard output. */
export class JsonReport implements Report {
  section(): void {}

  note(): void {}

  progress(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  step(step: Step): void {
    process.stdout.write(`${JSON.stringify(step)}\n`);
  }
}

/** For people at a terminal, or reading a log. */
export class TextReport implements Report {
  readonly #colours: boolean;

  constructor(colours: boolean) {
    this.#colours = colours;
  }

  section(title: string, explanation: string): void {
    this.note(`\n${this.#paint(1, title)}\n${explanation}\n`);
  }

  progress(text: string): void {
    this.note(this.#paint(2, text));
  }

  step(step: Step): void {
    const good = step.expected === step.got;
    const mark = good ? this.#paint(32, 'ok  ') : this.#paint(31, 'FAIL');
    const told = step.reason === '' || step.got.includes(step.reason);
    const reason = told ? '' : this.#paint(2, `  ${step.reason}`);
    const outcome = good ? step.got : `${step.got}, expected: ${step.expected}`;
    this.note(
      `  ${mark} ${`${step.from} -> ${step.to}`.padEnd(26)} ${step.step.padEnd(47)} ${outcome}${reason}`,
    );
  }

  note(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  #paint(code: number, text: string): string {
    return this.#colours ? `\u001B[${code}m${text}\u001B[0m` : text;
  }
}
