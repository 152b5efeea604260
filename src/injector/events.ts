import type { AdmissionRequest, Review } from './review.ts';

/** What an Event is about: the pod's controller, since the pod itself may never be there. */
interface Owner {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly uid?: string;
  readonly controller?: boolean;
}

const REASONS = { injected: 'Injected', skipped: 'InjectionSkipped', refused: 'InjectionRefused' } as const;
/** An Event's message may have 1,024 bytes. */
const MOST_TEXT = 1_000;

/**
 * The Event that tells a workload's owner what happened to its pod; undefined where there is nothing to tell: a pod without an owner
 * gets its answer at the terminal, and a dry run must leave no trace.
 *
 * @param now milliseconds since the epoch
 */
export function eventOf(request: AdmissionRequest, review: Review, now: number): object | undefined {
  if (request.dryRun || review.outcome === 'passed') return undefined;
  const owner = controllerOf(request);
  if (typeof owner?.kind !== 'string' || typeof owner.name !== 'string') return undefined;
  const time = new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { namespace: request.namespace, generateName: `${owner.name.slice(0, 200)}.countersign-` },
    involvedObject: {
      apiVersion: owner.apiVersion,
      kind: owner.kind,
      name: owner.name,
      namespace: request.namespace,
      uid: owner.uid,
    },
    type: review.outcome === 'refused' ? 'Warning' : 'Normal',
    reason: REASONS[review.outcome],
    message: (review.outcome === 'injected' ? 'the pod gets a sidecar' : review.reasons.join('; ')).slice(
      0,
      MOST_TEXT,
    ),
    source: { component: 'countersign-injector' },
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}

/** Keeps Events few: one per owner and outcome in a while, and not more than so many in all. */
export class EventLimit {
  readonly #sent = new Map<string, number>();
  static readonly EVERY_MS = 60_000;
  static readonly MOST = 256;

  /** @param now milliseconds */
  allows(request: AdmissionRequest, review: Review, now: number): boolean {
    for (const [key, at] of this.#sent) if (now - at >= EventLimit.EVERY_MS) this.#sent.delete(key);
    const owner = controllerOf(request);
    const key = `${request.namespace}/${owner?.uid ?? ''}/${review.outcome}`;
    if (this.#sent.has(key) || this.#sent.size >= EventLimit.MOST) return false;
    this.#sent.set(key, now);
    return true;
  }
}

/** The pod need not come from the API server: whoever reaches the injector may ask it. */
function controllerOf(request: AdmissionRequest): Owner | undefined {
  const references: unknown = request.pod.metadata?.ownerReferences;
  if (!Array.isArray(references)) return undefined;
  return references.find((one: Owner | null) => one?.controller === true) as Owner | undefined;
}
