import { LRUCache } from 'lru-cache';
import type { FastOpenOutcome } from '../observe/metric-list.ts';
import type { DialReport } from '../relay/data-path.ts';

/** What a dial may put into its SYN: mark and data, the mark alone (the Fast Open option), or nothing. */
export type SynContent = 'data' | 'mark' | 'nothing';

/** What is kept back towards an address from now on, and for how long. */
export interface Withheld {
  readonly address: string;
  readonly withheld: 'data' | 'mark';
  readonly seconds: number;
}

/** @param withheld what this dial has shown about the path, when that is new */
export type OnFastOpen = (outcome: FastOpenOutcome, withheld: Withheld | undefined) => void;

interface Path {
  readonly content: SynContent;
  /** Until then `content` is what is sent; afterwards all is tried again. Monotonic milliseconds. */
  readonly until: number;
  /** How long the next time lasts. */
  readonly nextMs: number;
  /** When a mark was lost last, without that it has passed since. */
  readonly markLostAt: number | undefined;
}

const MOST_PATHS = 4_096;
const FIRST_MS = 60_000;
const LONGEST_MS = 3_600_000;

/**
 * Which addresses are reached over paths that eat Fast Open, as some firewalls do: the kernel's own memory of that is one for all
 * destinations, and each SYN that is eaten costs a second.
 *
 * A SYN that had to be sent again exactly once is the sign, since the kernel repeats it plain: more than once, and the plain one was lost
 * as well, so that it was no middlebox. Lost data costs but a round trip from then on and is believed at once. Without the mark a server that
 * speaks first may do so before it sees the preamble; so that is believed the second time, of a dial begun after the first was noticed.
 * Whether a server is enrolled has nothing to do with it: a dial without a mark carries the same Hello.
 */
export class FastOpenMemory {
  readonly #paths = new LRUCache<string, Path>({ max: MOST_PATHS });
  readonly #tell: OnFastOpen;

  constructor(tell: OnFastOpen) {
    this.#tell = tell;
  }

  /** What to put into the SYN of a dial that begins now. */
  contentFor(address: string, now: number): SynContent {
    const path = this.#paths.get(address);
    return path === undefined || now >= path.until ? 'data' : path.content;
  }

  /** What became of a dial: it led to a connection. */
  note(address: string, sent: SynContent, begunAt: number, report: DialReport, now: number): void {
    const path = this.#paths.get(address);
    const outcome = outcomeOf(sent, report);
    if (outcome === 'taken') this.#paths.delete(address);
    else if (outcome === 'lost' && report.synRetransmits === 1) {
      this.#tell(
        outcome,
        this.#lost(address, sent === 'data' && report.synData !== 'none', path, begunAt, now),
      );
      return;
    } else if (path?.markLostAt !== undefined && sent !== 'nothing') {
      this.#paths.set(address, { ...path, markLostAt: undefined });
    }
    this.#tell(outcome, undefined);
  }

  /** Believes in a path again. */
  forget(address: string): void {
    this.#paths.delete(address);
  }

  #lost(
    address: string,
    withData: boolean,
    path: Path | undefined,
    begunAt: number,
    now: number,
  ): Withheld | undefined {
    const { until = 0, nextMs = FIRST_MS, markLostAt, content = 'data' } = path ?? {};
    const again = markLostAt !== undefined && begunAt > markLostAt;
    if (!withData && !again) {
      this.#paths.set(address, { content, until, nextMs, markLostAt: now });
      return undefined;
    }
    // Of many dials at the same moment one tells.
    const withheld = withData ? 'data' : 'mark';
    const next: SynContent = withData ? 'mark' : 'nothing';
    if (now < until && (content === next || content === 'nothing')) return undefined;
    const longer = Math.min(nextMs * 2, LONGEST_MS);
    this.#paths.set(address, { content: next, until: now + nextMs, nextMs: longer, markLostAt: undefined });
    return { address, withheld, seconds: nextMs / 1000 };
  }
}

function outcomeOf(sent: SynContent, { synRetransmits, synData }: DialReport): FastOpenOutcome {
  if (sent === 'nothing') return 'mark-withheld';
  if (synData === 'taken') return 'taken';
  if (synRetransmits > 0) return 'lost';
  if (sent === 'mark') return 'data-withheld';
  return synData === 'refused' ? 'refused' : 'no-cookie';
}
