import type { ScaleResult, ScaleWindow } from './result.ts';

/** What the parts of a cluster cost an authority; linear. Bytes and CPU seconds. */
export interface CostModel {
  readonly memoryBase: number;
  readonly memoryPerPod: number;
  readonly memoryPerSidecar: number;
  /** Per second. */
  readonly idlePerSidecar: number;
  readonly changeBase: number;
  readonly changePerPod: number;
  /** For one sidecar that a change reaches. */
  readonly changePerReceiver: number;
  /** Sidecars that a change reaches where all are connected. */
  readonly receivers: number;
}

const RENEWALS_PER_SECOND = 1 / (0.95 * 1_200);
const REQUESTS_PER_RENEWAL = 3;

/** From the measurements of a small and a large cluster, with few and all sidecars. Pure. What noise makes negative counts as nothing. */
export function fit({ held, windows }: ScaleResult): CostModel {
  const [small, large, full] = [held[0]!, held[1]!, held.at(-1)!];
  // Resident memory, with the garbage that waits to be collected: an upper bound, and what a limit of the pod is compared with.
  const bytes = ({ authority }: typeof small): number => authority.resident;
  // Pods may come where garbage was, and nothing grows then: what is left after a collection is the least that they cost.
  const kept = ({ authority }: typeof small): number => authority.heap + authority.external;
  const podsMore = large.pods - small.pods;
  const memoryPerPod = Math.max(
    slope(bytes(small), bytes(large), podsMore),
    slope(kept(small), kept(large), podsMore),
  );
  const memoryPerSidecar = slope(bytes(large), bytes(full), full.sidecars - large.sidecars);
  const policies = windows.filter(({ load }) => load === 'policies');
  const [few, more, all] = [policies[0]!, policies[1]!, policies.at(-1)!];
  const idle = windows.filter(({ load }) => load === 'none').at(-1)!;
  const idlePerSidecar = idle.cpu / idle.seconds / idle.sidecars;
  const perChange = (one: ScaleWindow): number =>
    Math.max(0, one.cpu - idlePerSidecar * one.sidecars * one.seconds) / one.changes;
  const receivers = (one: ScaleWindow): number => (one.latency?.count ?? 0) / one.changes;
  const changePerPod = slope(perChange(few), perChange(more), more.pods - few.pods);
  const changePerReceiver = slope(perChange(more), perChange(all), receivers(all) - receivers(more));
  const rest = perChange(all) - changePerPod * all.pods - changePerReceiver * receivers(all);
  return {
    memoryBase: Math.max(0, bytes(full) - memoryPerPod * full.pods - memoryPerSidecar * full.sidecars),
    memoryPerPod,
    memoryPerSidecar,
    idlePerSidecar,
    changeBase: Math.max(0, rest),
    changePerPod,
    changePerReceiver,
    receivers: receivers(all),
  };
}

function slope(before: number, after: number, by: number): number {
  return by <= 0 ? 0 : Math.max(0, (after - before) / by);
}

/** What a cluster would need of one replica. */
export function demandAt(model: CostModel, pods: number, sidecars: number) {
  return {
    memory: model.memoryBase + model.memoryPerPod * pods + model.memoryPerSidecar * sidecars,
    /** CPUs. */
    idleCpu: model.idlePerSidecar * sidecars,
    /** CPU seconds. */
    changeCpu: model.changeBase + model.changePerPod * pods + model.changePerReceiver * model.receivers,
    issuingPerSecond: sidecars * RENEWALS_PER_SECOND * REQUESTS_PER_RENEWAL,
  };
}
