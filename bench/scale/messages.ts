import type { ApiServer } from '../../src/kube/api-client.ts';

/** What simulated sidecars of one process and the authority's process are told over the channel of `fork`, and what they say. */
export interface SidecarPlan {
  /** `namespace/name`. */
  readonly pod: string;
  /** Loopback address of its own to connect from: the authority bounds what one address may hold. */
  readonly from: string;
  readonly tokenFile: string;
  /** The pods that it talks to. */
  readonly peers: readonly { readonly pod: string; readonly address: string }[];
}

export type ToSidecars =
  | {
      readonly kind: 'connect';
      readonly url: string;
      readonly caFile: string;
      readonly sidecars: readonly SidecarPlan[];
    }
  | { readonly kind: 'measure' };

export type FromSidecars =
  | { readonly kind: 'up' | 'connected' }
  | { readonly kind: 'measured'; readonly use: ProcessUse }
  | { readonly kind: 'failed'; readonly why: string }
  /** `at`: milliseconds of the machine's monotonic clock. */
  | {
      readonly kind: 'seen';
      readonly object: string;
      readonly serial: number;
      readonly by: string;
      readonly at: number;
    };

export type ToAuthority =
  | { readonly kind: 'start'; readonly server: Omit<ApiServer, 'credential'>; readonly token: string }
  | { readonly kind: 'measure' };

export type FromAuthority =
  | { readonly kind: 'up' }
  | {
      readonly kind: 'serving';
      readonly url: string;
      readonly port: number;
      readonly authorities: string;
    }
  | { readonly kind: 'measured'; readonly use: ProcessUse }
  | { readonly kind: 'failed'; readonly why: string };

export interface ProcessUse {
  /** Used heap after a collection, bytes. */
  readonly heap: number;
  /** Bytes outside the heap that objects of it hold: buffers and TLS of connections. */
  readonly external: number;
  /** Resident memory before the collection, bytes. */
  readonly resident: number;
  /** User and system time so far, seconds; without what this measurement costs. */
  readonly cpu: number;
}

/** Milliseconds of a clock that all processes of the machine share (CLOCK_MONOTONIC). */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

let spent = 0;

/** What this process uses; collects garbage first, which is not counted as CPU. Needs `--expose-gc`. */
export function processUse(): ProcessUse {
  const seconds = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  const before = seconds();
  const resident = process.memoryUsage.rss();
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  const cpu = before - spent;
  spent += seconds() - before;
  return { heap: heapUsed, external, resident, cpu };
}
