import type { ScalePlace } from './place.ts';
import type { Size } from './population.ts';
import type { Held, Load, ScaleWindow } from './result.ts';
import { ScaleSession } from './session.ts';

export interface Steps {
  readonly size: Size;
  /** Pods at the first measurement. */
  readonly firstPods: number;
  /** Sidecars at each step, growing; the last are all. */
  readonly sidecars: readonly number[];
  readonly seconds: number;
  readonly perSecond: number;
  readonly tell: (progress: string) => void;
}

/** Runs everything on an API server: a small cluster, the whole one, then more and more sidecars. */
export async function measureScale(
  place: ScalePlace,
  { size, firstPods, sidecars, seconds, perSecond, tell }: Steps,
): Promise<{ windows: ScaleWindow[]; held: Held[] }> {
  const session = new ScaleSession(place, size);
  const windows: ScaleWindow[] = [];
  const held: Held[] = [];
  const pass = async (load: Load, rate = perSecond): Promise<void> => {
    tell(`${seconds} s, changes: ${load}`);
    windows.push(await session.window(load, seconds, rate));
  };
  try {
    tell('namespaces, nodes, policies, authority');
    await session.start();
    tell(`${firstPods} pods`);
    await session.growPods(firstPods);
    await session.growSidecars(sidecars[0]!);
    await pass('policies');
    held.push(await session.held());
    tell(`${size.pods} pods`);
    await session.growPods(size.pods);
    for (const count of sidecars) {
      if (count > sidecars[0]!) {
        tell(`${count} sidecars`);
        await session.growSidecars(count);
      }
      await pass('none');
      await pass('policies');
      held.push(await session.held());
    }
    await pass('labels');
    // Each time is one change in every namespace.
    await pass('all namespaces at once', Math.min(1, perSecond));
  } finally {
    await session.close();
  }
  return { windows, held };
}
