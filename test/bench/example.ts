import type { BenchResult, LoadKind, Sample } from '../../bench/result.ts';

/** A sample of a second with everything in it; what a test is about is given. */
export function sample(variant: string, kind: LoadKind, given: Partial<Sample> = {}): Sample {
  return {
    ...{ variant, kind, round: 0, connections: 1_000, bytes: 1e9, seconds: 1, p50: 100, p99: 200 },
    ...{ proxyCpu: 0.2, allCpu: 1, foreignCpus: 0 },
    ...given,
  };
}

/** A result with these samples and nothing else. */
export function resultOf(samples: readonly Sample[], given: Partial<BenchResult> = {}): BenchResult {
  return {
    format: 1,
    date: '2026-02-03T04:05:06.000Z',
    seconds: 601,
    quick: false,
    machine: { cpus: 2, model: 'Example CPU', kernel: '6.1.0', memoryGb: 8 },
    versions: { Countersign: '1.2.3', HAProxy: '2.6.12' },
    variants: [
      { id: 'direct', title: 'direct' },
      { id: 'haproxy', title: 'HAProxy TCP' },
      { id: 'countersign', title: '**Countersign, redirect**' },
    ],
    samples,
    memory: undefined,
    start: undefined,
    queuedPackets: undefined,
    problems: [],
    notes: [],
    ...given,
  };
}
