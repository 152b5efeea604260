import { difference, type FigureName, ratio, type Reading } from './figures.ts';
import type { BenchResult } from './result.ts';
import { digits, type Spread, spreadOf, spreadText } from './statistics.ts';

/** One promise and what came of it. `stretch`: a goal beyond the promise; `open`: nothing to judge by. */
export interface TargetRow {
  readonly what: string;
  readonly target: string;
  readonly measured: string;
  readonly verdict: 'met' | 'missed' | 'open';
  readonly stretch: boolean;
}

interface Target {
  readonly what: string;
  readonly atMost?: number;
  readonly atLeast?: number;
  readonly unit: string;
  readonly stretch?: boolean;
  readonly of: (result: BenchResult) => (Spread & { readonly quiet?: boolean }) | undefined;
}

type Of = Target['of'];

const times =
  (name: FigureName, variant: string, base: string): Of =>
  (result) =>
    ratio(result, name, variant, base);
const beyond =
  (name: FigureName, variant: string, base: string): Of =>
  (result) =>
    difference(result, name, variant, base);

/** How many round trips of the delayed link a variant's first answer takes more than without anything in between. */
export function addedRoundTrips(result: BenchResult, variant: string): Reading | undefined {
  const more = difference(result, 'far', variant, 'direct');
  if (more === undefined) return undefined;
  const trips = (milliseconds: number): number => milliseconds / FAR_ROUND_TRIP_MS;
  return { ...more, median: trips(more.median), least: trips(more.least), most: trips(more.most) };
}

/** The delayed link holds every packet back for 10 ms, in both directions. */
export const FAR_ONE_WAY_MS = 10;
const FAR_ROUND_TRIP_MS = 2 * FAR_ONE_WAY_MS;

const KB = 1024;
const MB = 1e6;

/** The product's promises about speed and memory. Ratios are of the same round of one run. */
const TARGETS: readonly Target[] = [
  {
    what: 'bulk, 1 stream, bytes per CPU second of all: countersign / HAProxy TCP',
    atLeast: 1.9,
    unit: 'x',
    of: times('bytesPerCpu1', 'countersign', 'haproxy'),
  },
  {
    what: 'bulk, 8 streams, bytes per CPU second of all: countersign / HAProxy TCP',
    atLeast: 1.9,
    unit: 'x',
    of: times('bytesPerCpu8', 'countersign', 'haproxy'),
  },
  {
    what: 'bulk, 1 stream, bytes per CPU second of all: countersign / HAProxy mTLS',
    atLeast: 2.7,
    unit: 'x',
    of: times('bytesPerCpu1', 'countersign', 'haproxy-mtls'),
  },
  {
    what: 'bulk, 8 streams, bytes per CPU second of all: countersign / HAProxy mTLS',
    atLeast: 2.7,
    unit: 'x',
    of: times('bytesPerCpu8', 'countersign', 'haproxy-mtls'),
  },
  {
    what: 'bulk, 1 stream, Gbit/s: countersign / direct',
    atLeast: 0.65,
    unit: 'x',
    of: times('bulk1', 'countersign', 'direct'),
  },
  {
    what: 'proxy CPU per new connection: countersign / HAProxy TCP',
    atMost: 1.2,
    unit: 'x',
    of: times('cpuPerConnection', 'countersign', 'haproxy'),
  },
  {
    what: 'proxy CPU per new connection: countersign / HAProxy mTLS resumed',
    atMost: 0.2,
    unit: 'x',
    of: times('cpuPerConnection', 'countersign', 'haproxy-mtls'),
  },
  {
    what: 'new connections/s: countersign / HAProxy TCP',
    atLeast: 0.8,
    unit: 'x',
    of: times('rate', 'countersign', 'haproxy'),
  },
  {
    what: 'new connections/s: countersign / HAProxy mTLS resumed',
    atLeast: 4.5,
    unit: 'x',
    of: times('rate', 'countersign', 'haproxy-mtls'),
  },
  {
    what: 'connect + 1 byte p50: countersign / HAProxy TCP',
    atMost: 1.8,
    unit: 'x',
    of: times('connect', 'countersign', 'haproxy'),
  },
  {
    what: 'connect + 1 byte p50: countersign / HAProxy TCP',
    atMost: 1.35,
    unit: 'x',
    stretch: true,
    of: times('connect', 'countersign', 'haproxy'),
  },
  {
    what: 'first contact, proxy CPU: countersign / HAProxy mTLS full',
    atMost: 0.4,
    unit: 'x',
    of: times('cpuPerConnection', 'countersign-first', 'haproxy-mtls-full'),
  },
  {
    what: 'first contact p50: countersign / HAProxy mTLS full',
    atMost: 0.6,
    unit: 'x',
    of: times('connect', 'countersign-first', 'haproxy-mtls-full'),
  },
  {
    what: 'round trips added on a link with 10 ms delay, countersign',
    atMost: 1.1,
    unit: '',
    of: (result) => addedRoundTrips(result, 'countersign'),
  },
  {
    what: 'first answer on that link: countersign with Fast Open / direct',
    atMost: 1.1,
    unit: 'x',
    of: times('far', 'countersign-fastopen', 'direct'),
  },
  {
    what: 'ping-pong p50: countersign / HAProxy TCP',
    atMost: 1.0,
    unit: 'x',
    of: times('ping', 'countersign', 'haproxy'),
  },
  {
    what: 'private dirty memory of an idle sidecar',
    atMost: 20,
    unit: 'MB',
    of: ({ memory }) => memory && spreadOf([memory.privateDirty / MB]),
  },
  {
    what: 'user space of an idle connection, the dearer sidecar',
    atMost: 1,
    unit: 'KB',
    of: ({ memory }) =>
      memory && spreadOf([Math.max(memory.perConnection.client, memory.perConnection.server) / KB]),
  },
  {
    what: 'process start to ready, files source',
    atMost: 200,
    unit: 'ms',
    of: ({ start }) => start && spreadOf(start.milliseconds),
  },
  {
    what: 'bulk, 1 stream, Gbit/s: nfqueue / direct',
    atLeast: 0.97,
    unit: 'x',
    of: times('bulk1', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'bulk, 8 streams, Gbit/s: nfqueue / direct',
    atLeast: 0.97,
    unit: 'x',
    of: times('bulk8', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'ping-pong p50: nfqueue / direct',
    atMost: 1 / 0.97,
    unit: 'x',
    of: times('ping', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'connect + 1 byte p50: nfqueue - direct',
    atMost: 600,
    unit: 'us',
    of: beyond('connect', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'connect + 1 byte p50: nfqueue - direct',
    atMost: 350,
    unit: 'us',
    stretch: true,
    of: beyond('connect', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'new connections/s: nfqueue / direct',
    atLeast: 0.4,
    unit: 'x',
    of: times('rate', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'new connections/s: nfqueue / direct',
    atLeast: 0.5,
    unit: 'x',
    stretch: true,
    of: times('rate', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'new connections/s: nfqueue / HAProxy mTLS resumed',
    atLeast: 5,
    unit: 'x',
    of: times('rate', 'countersign-nfqueue', 'haproxy-mtls'),
  },
  {
    what: 'first contact p50: nfqueue - direct',
    atMost: 1_200,
    unit: 'us',
    of: beyond('connect', 'countersign-nfqueue-first', 'direct'),
  },
  {
    what: 'first contact after a pause p50: nfqueue - direct',
    atMost: 1_200,
    unit: 'us',
    of: beyond('first', 'countersign-nfqueue', 'direct'),
  },
  {
    what: 'packets queued per side and connection, nfqueue',
    atMost: 4,
    unit: '',
    of: ({ queuedPackets }) => (queuedPackets === undefined ? undefined : spreadOf([queuedPackets])),
  },
  {
    what: 'first answer on a link with 10 ms delay: nfqueue / direct',
    atMost: 1.05,
    unit: 'x',
    of: times('far', 'countersign-nfqueue', 'direct'),
  },
];

/** Every target with what was measured. One of wall time without a quiet round stays open, and shows the noisy value. */
export function targetRows(result: BenchResult): TargetRow[] {
  return TARGETS.map(({ what, atMost, atLeast, unit, stretch = false, of }) => {
    const limit = atMost ?? atLeast!;
    const suffix = unit === 'x' || unit === '' ? unit : ` ${unit}`;
    const target = `${atMost === undefined ? '>=' : '<='} ${digits(limit)}${suffix}`;
    const found = of(result);
    if (found === undefined) return { what, target, stretch, measured: 'not measured', verdict: 'open' };
    const measured = `${spreadText(found)}${suffix}`;
    if (found.quiet === false)
      return { what, target, stretch, measured: `${measured}, no quiet round`, verdict: 'open' };
    const met = atMost === undefined ? found.median >= limit : found.median <= limit;
    return { what, target, stretch, measured, verdict: met ? 'met' : 'missed' };
  });
}
