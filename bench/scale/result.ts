import type { Machine } from '../result.ts';
import type { ProcessUse } from './messages.ts';
import type { Size } from './population.ts';
import type { RequestCount } from './requests.ts';
import type { Latency } from './tracker.ts';

export type Load = 'none' | 'policies' | 'labels' | 'all namespaces at once';

/** What happened during a while. */
export interface ScaleWindow {
  readonly load: Load;
  readonly pods: number;
  readonly sidecars: number;
  readonly seconds: number;
  readonly changes: number;
  /** How often a change reached a sidecar, and in what time; undefined: there were none. */
  readonly latency: Latency | undefined;
  /** Changes that a sidecar had not seen a minute after the end. */
  readonly missing: number;
  /** Requests of the authority to the API server. */
  readonly requests: RequestCount;
  /** CPU seconds of the authority. */
  readonly cpu: number;
  /** By the authority to sidecars, with everything of TLS and HTTP/2. */
  readonly bytes: number;
}

/** What processes used at one moment. */
export interface Held {
  readonly pods: number;
  readonly sidecars: number;
  readonly authority: ProcessUse;
  /** The process of the first sidecars, and how many those are. */
  readonly first: ProcessUse;
  readonly firstCount: number;
}

/** What a run found; everything that is printed or written is made from this value alone. */
export interface ScaleResult {
  readonly format: 1;
  /** ISO 8601. */
  readonly date: string;
  readonly seconds: number;
  readonly size: Size;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  /** Mean number of tasks that wanted a CPU in the minute before its end (`/proc/loadavg`). */
  readonly loadAverage: number;
  readonly windows: readonly ScaleWindow[];
  readonly held: readonly Held[];
}
