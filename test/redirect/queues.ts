import { join } from 'node:path';
import { until } from '../support/until.ts';
import { type PodUnderTest, PROXY_UID } from './pod-under-test.ts';

const CAPABILITIES = ['--inh-caps=+net_admin,+net_raw', '--ambient-caps=+net_admin,+net_raw'];
const PROGRAM = join(import.meta.dirname, 'queue-stand-in.ts');

/** The queues' listener in a pod: not root, with the two capabilities. */
export class Queues {
  readonly lines: string[] = [];
  readonly #under: PodUnderTest;
  #child: ReturnType<PodUnderTest['network']['start']> | undefined;

  constructor(under: PodUnderTest) {
    this.#under = under;
  }

  async start(how: string): Promise<void> {
    const user = [
      'setpriv',
      `--reuid=${PROXY_UID}`,
      `--regid=${PROXY_UID}`,
      '--clear-groups',
      ...CAPABILITIES,
    ];
    const child = this.#under.network.start('pod', [...user, process.execPath, PROGRAM, how]);
    this.#child = child;
    let rest = '';
    const hear = (chunk: Buffer): void => {
      const all = (rest + chunk.toString()).split('\n');
      rest = all.pop()!;
      this.lines.push(...all);
    };
    child.stdout!.on('data', hear);
    child.stderr!.on('data', hear);
    await until('the queues are bound', () => this.lines.includes('up'));
  }

  /** From here on packets are treated so. */
  async now(how: string): Promise<void> {
    this.lines.length = 0;
    this.#child!.stdin!.write(`${how}\n`);
    await until(`the queues are told to ${how}`, () => this.lines.includes(`now ${how}`));
    this.lines.length = 0;
  }

  async kill(): Promise<void> {
    const child = this.#child!;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
    this.lines.length = 0;
  }
}
