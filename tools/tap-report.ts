const RESULT = /^( *)(not )?ok \d+(?: - (.*?))?(?: # (?:time=([\d.]+)m?s|(SKIP|TODO) ?(.*)))?( \{)?$/i;

/** Makes a short report of TAP 14 as tap prints it: files at the margin, their tests four columns in, assertions deeper. */
export class TapReport {
  passed = 0;
  failed = 0;
  skipped = 0;
  /** Files that failed, with how many of their tests failed and passed. */
  readonly failedFiles: { name: string; failed: number; passed: number }[] = [];
  readonly #print: (line: string) => void;
  #file: string[] = [];
  #test: string[] = [];
  #failures: string[] = [];
  #skips: string[] = [];
  #testsOfFile = 0;
  #failedOfFile = 0;
  #passedOfFile = 0;
  #diagnosingFile = false;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  /** The next line of TAP. */
  line(text: string): void {
    if (this.#diagnosingFile) return this.#diagnose(text);
    const result = RESULT.exec(text);
    if (result === null) {
      if (text === '  ---') return this.#diagnose(text);
      this.#test.push(text);
      if (text.startsWith('Bail out!')) this.#print(text);
      return;
    }
    const depth = result[1]!.length;
    const [failed, name, milliseconds] = [result[2] !== undefined, result[3] ?? '', Number(result[4] ?? 0)];
    const skip = result[5] === undefined ? undefined : `${name}${result[6] === '' ? '' : `: ${result[6]}`}`;
    if (skip !== undefined && depth > 0) {
      this.skipped++;
      this.#skips.push(skip);
    }
    if (depth === 0) this.#endFile(name, failed, milliseconds, skip);
    else if (depth === 4) this.#endTest(text, failed, skip !== undefined);
    else if (failed) this.#test.push(text);
  }

  /** `12 passed, 0 failed, 1 skipped`: tests, not assertions. */
  summary(): string {
    return `${this.passed} passed, ${this.failed} failed, ${this.skipped} skipped`;
  }

  /** What tap says of a file that failed: how it ended matters, how it was started does not. */
  #diagnose(text: string): void {
    this.#diagnosingFile = text !== '  ...';
    if (/^ {2}(signal: [A-Z]|exitCode: [^0]|timeout|expired)/.test(text)) this.#print(`    ${text.trim()}`);
  }

  #endTest(text: string, failed: boolean, skipped: boolean): void {
    this.#testsOfFile++;
    this.#endDiagnosis();
    this.#file.push(...this.#test, text);
    if (failed && !skipped) {
      this.failed++;
      this.#failedOfFile++;
      this.#failures.push(...this.#test.filter((line) => !/^ *(# Subtest|1\.\.)|^ *$/.test(line)), text);
    } else if (!skipped) {
      this.passed++;
      this.#passedOfFile++;
    }
    this.#test = [];
  }

  /** The diagnosis of a failure that is no test of its own follows its line. */
  #endDiagnosis(): void {
    const end = this.#test.indexOf('      ...');
    if (this.#test[0] === '      ---' && end > 0) this.#failures.push(...this.#test.splice(0, end + 1));
  }

  #endFile(name: string, failed: boolean, milliseconds: number, skip: string | undefined): void {
    if (skip !== undefined) {
      this.skipped++;
      this.#skips.push(skip);
    }
    const count = `${this.#testsOfFile} ${this.#testsOfFile === 1 ? 'test' : 'tests'}`;
    const mark = failed ? 'FAILED ' : skip === undefined ? 'ok     ' : 'skipped';
    this.#print(`${mark}  ${name}  ${count}, ${(milliseconds / 1000).toFixed(1)} s`);
    for (const line of this.#skips) this.#print(`    skipped: ${line}`);
    this.#endDiagnosis();
    if (failed) {
      this.failedFiles.push({ name, failed: Math.max(1, this.#failedOfFile), passed: this.#passedOfFile });
      // A file that ends badly without a failing test has said why outside of them.
      const why = this.#failures.length > 0 ? this.#failures : [...this.#file, ...this.#test].slice(-60);
      if (this.#failures.length === 0) this.failed++;
      for (const line of why) this.#print(line);
    }
    this.#file = [];
    this.#test = [];
    this.#failures = [];
    this.#skips = [];
    this.#testsOfFile = 0;
    this.#failedOfFile = 0;
    this.#passedOfFile = 0;
  }
}
