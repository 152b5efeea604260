import { type BenchResult, isQuiet, type LoadKind, type Sample } from './result.ts';
import { type Spread, spreadOf } from './statistics.ts';

/** A number that is read off a sample. */
export interface Figure {
  readonly title: string;
  readonly kind: LoadKind;
  /** A figure of wall time depends on what neighbours do; one of CPU time hardly. */
  readonly clock: 'wall' | 'cpu';
  readonly better: 'more' | 'less';
  readonly of: (sample: Sample) => number;
}

const GB = 1e9;
const gbits = ({ bytes, seconds }: Sample): number => (bytes * 8) / GB / seconds;
const p50 = (sample: Sample): number => sample.p50;
const proxyMicros = (sample: Sample): number => (sample.proxyCpu * 1e6) / sample.connections;

export const FIGURES = {
  bulk1: { title: 'bulk, 1 stream, Gbit/s', kind: 'bulk1', clock: 'wall', better: 'more', of: gbits },
  bulk8: { title: 'bulk, 8 streams, Gbit/s', kind: 'bulk8', clock: 'wall', better: 'more', of: gbits },
  cpuPerGb: {
    title: 'proxy CPU s/GB',
    kind: 'bulk1',
    clock: 'cpu',
    better: 'less',
    of: ({ proxyCpu, bytes }) => proxyCpu / (bytes / GB),
  },
  bytesPerCpu1: {
    title: 'GB per CPU second of all, 1 stream',
    kind: 'bulk1',
    clock: 'cpu',
    better: 'more',
    of: ({ allCpu, bytes }) => bytes / GB / allCpu,
  },
  bytesPerCpu8: {
    title: 'GB per CPU second of all, 8 streams',
    kind: 'bulk8',
    clock: 'cpu',
    better: 'more',
    of: ({ allCpu, bytes }) => bytes / GB / allCpu,
  },
  ping: { title: 'ping-pong p50, us', kind: 'ping', clock: 'wall', better: 'less', of: p50 },
  connect: { title: 'connect + 1 byte p50, us', kind: 'connect', clock: 'wall', better: 'less', of: p50 },
  rate: {
    title: 'new conn/s',
    kind: 'rate',
    clock: 'wall',
    better: 'more',
    of: ({ connections, seconds }) => connections / seconds,
  },
  cpuPerConnection: {
    title: 'proxy CPU us/conn',
    kind: 'rate',
    clock: 'cpu',
    better: 'less',
    of: proxyMicros,
  },
  firstCpu: {
    title: 'first contact, proxy CPU us',
    kind: 'first',
    clock: 'cpu',
    better: 'less',
    of: proxyMicros,
  },
  first: { title: 'first contact p50, us', kind: 'first', clock: 'wall', better: 'less', of: p50 },
  far: {
    title: 'delayed link, first answer, ms',
    kind: 'far',
    clock: 'wall',
    better: 'less',
    of: (one) => one.p50 / 1000,
  },
} as const satisfies Record<string, Figure>;

export type FigureName = keyof typeof FIGURES;

/** Values of a variant. `quiet`: whether they are of quiet samples alone, or there were none. */
export interface Reading extends Spread {
  readonly quiet: boolean;
}

/**
 * A figure of a variant over all rounds. Of wall time only quiet samples count, as long as there is one. Neighbours cannot change a figure of
 * the delayed link by more than a fraction of its delay, so that one takes all samples.
 */
export function reading(result: BenchResult, name: FigureName, variant: string): Reading | undefined {
  const figure: Figure = FIGURES[name];
  const all = result.samples.filter((one) => one.variant === variant && one.kind === figure.kind);
  return preferQuiet(
    figure,
    all.map((sample) => ({ value: figure.of(sample), quiet: isQuiet(sample) })),
  );
}

/**
 * How a variant compares with another one: the ratios of the samples of the same round, so that what changes from round to round is in
 * both. Of wall time a round counts when both samples are quiet.
 */
export function ratio(
  result: BenchResult,
  name: FigureName,
  variant: string,
  base: string,
): Reading | undefined {
  return compared(result, name, variant, base, (ours, theirs) => ours / theirs);
}

/** The same for differences, in the figure's unit. */
export function difference(
  result: BenchResult,
  name: FigureName,
  variant: string,
  base: string,
): Reading | undefined {
  return compared(result, name, variant, base, (ours, theirs) => ours - theirs);
}

function compared(
  result: BenchResult,
  name: FigureName,
  variant: string,
  base: string,
  by: (ours: number, theirs: number) => number,
): Reading | undefined {
  const figure: Figure = FIGURES[name];
  const of = (id: string): Map<number, Sample> =>
    new Map(
      result.samples
        .filter((one) => one.variant === id && one.kind === figure.kind)
        .map((one) => [one.round, one]),
    );
  const theirs = of(base);
  return preferQuiet(
    figure,
    [...of(variant)].flatMap(([round, our]) => {
      const their = theirs.get(round);
      if (their === undefined) return [];
      return [{ value: by(figure.of(our), figure.of(their)), quiet: isQuiet(our) && isQuiet(their) }];
    }),
  );
}

function preferQuiet(
  figure: Figure,
  values: readonly { value: number; quiet: boolean }[],
): Reading | undefined {
  const usable = values.filter(({ value }) => Number.isFinite(value));
  const indifferent = figure.clock === 'cpu' || figure.kind === 'far';
  const quiet = indifferent ? usable : usable.filter((one) => one.quiet);
  const spread = spreadOf((quiet.length > 0 ? quiet : usable).map(({ value }) => value));
  return spread && { ...spread, quiet: quiet.length > 0 };
}
