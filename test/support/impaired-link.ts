import { type ChildProcess, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestNetwork } from './netns.ts';

/** What a link does to packets, in each direction. What is left out is not done. */
export interface Impairment {
  /** One way, in milliseconds: a round trip takes twice as long. */
  readonly delayMs?: number;
  /** Up to so much more, evenly spread; it does not change the order. */
  readonly jitterMs?: number;
  /** Shares of the packets, from 0 to 1. */
  readonly loss?: number;
  readonly duplicate?: number;
  readonly reorder?: number;
  /** How long a reordered packet is held back. 5 unless told. */
  readonly reorderMs?: number;
  /** A middlebox that drops SYNs with data, or with the Fast Open option. */
  readonly eat?: 'syn-data' | 'syn-option';
  /** The most packets under way in a direction; what comes beyond is lost. 4096 unless told, at most 65536. */
  readonly queue?: number;
  /** The fate of the nth packet of a direction follows from it. 1 unless told. */
  readonly seed?: number;
}

/** A host of a {@link TestNetwork}: its name there, and its addresses. */
export interface LinkEnd {
  readonly host: string;
  readonly four: string;
  readonly six: string;
}

/** What a link has done to the packets of a direction. */
interface LinkCounts {
  readonly passed: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly eaten: number;
  /** Beyond the queue, or sent to a device that was down. */
  readonly overflowed: number;
}

let links = 0;

/**
 * The path between two hosts of a test network, made worse: their own addresses reach each other over a pair of TUN devices and a program
 * in between (impaired-link.c), other hosts as before. Needs no netem. The first packet pays no ARP.
 */
export class ImpairedLink {
  /** The name of the device, the same in both hosts. */
  readonly device: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, device: string) {
    this.#child = child;
    this.#lines = lines;
    this.device = device;
  }

  /** Lays the link. It ends with the network, or by {@link remove}. */
  static async between(
    network: TestNetwork,
    here: LinkEnd,
    there: LinkEnd,
    how: Impairment,
  ): Promise<ImpairedLink> {
    const device = `impaired${links++}`;
    const other = network.name(there.host);
    const child = network.start(here.host, [program(), device, other, device, ...argumentsOf(how)]);
    let complaint = '';
    child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.value !== 'ready') throw new Error(`no impaired link: ${complaint}`);
    for (const [end, far] of [
      [here, there],
      [there, here],
    ] as const) {
      const ip = (...command: string[]): void => {
        execFileSync('ip', ['-n', network.name(end.host), ...command], {
          stdio: ['ignore', 'ignore', 'pipe'],
        });
      };
      // REDIRECT sends what comes over a device to an address of that device.
      ip('addr', 'add', `${end.four}/32`, 'dev', device);
      ip('addr', 'add', `${end.six}/128`, 'dev', device, 'nodad');
      ip('link', 'set', device, 'up');
      ip('route', 'replace', `${far.four}/32`, 'dev', device, 'src', end.four);
      ip('-6', 'route', 'replace', `${far.six}/128`, 'dev', device, 'src', end.six);
    }
    return new ImpairedLink(child, lines, device);
  }

  /** Takes the link away: the hosts reach each other as before, and what was under way is lost. */
  async remove(): Promise<{ readonly there: LinkCounts; readonly back: LinkCounts }> {
    const ended = once(this.#child, 'close');
    this.#child.kill('SIGTERM');
    const told = await this.#lines.next();
    await ended;
    return JSON.parse(String(told.value)) as { there: LinkCounts; back: LinkCounts };
  }
}

function argumentsOf(how: Impairment): string[] {
  const micros = (ms = 0): string => String(Math.round(ms * 1_000));
  const millionths = (share = 0): string => String(Math.round(share * 1_000_000));
  return [
    String(how.seed ?? 1),
    micros(how.delayMs),
    micros(how.jitterMs),
    millionths(how.loss),
    millionths(how.duplicate),
    millionths(how.reorder),
    micros(how.reorderMs ?? 5),
    how.eat ?? 'none',
    String(how.queue ?? 4_096),
  ];
}

/** Compiles the program when its source is new; another test may do the same at the same time. */
function program(): string {
  const source = join(import.meta.dirname, 'impaired-link.c');
  const folder = join(import.meta.dirname, '../../.setup');
  const version = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const built = join(folder, `impaired-link-${version}`);
  if (existsSync(built)) return built;
  mkdirSync(folder, { recursive: true });
  const unfinished = `${built}.${process.pid}`;
  const flags = ['-O2', '-std=gnu17', '-Wall', '-Wextra', '-Wshadow', '-Werror'];
  execFileSync('cc', [...flags, '-o', unfinished, source], { stdio: ['ignore', 'ignore', 'inherit'] });
  renameSync(unfinished, built);
  return built;
}
