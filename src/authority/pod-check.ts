import { decodeObject } from '../sources/objects.ts';
import type { PodObject } from '../sources/objects-pod.ts';
import { refusal, type Refusal, type ReviewedPod } from './token-review.ts';

/** What tells our sidecar from whatever else a pod may carry. */
export interface SidecarMark {
  /** Name of its container. */
  readonly container: string;
  /** Name of its image, of any tag and digest; what ends with `/`: any image below that; empty: any image. */
  readonly image: string;
}

export interface CheckedPod {
  readonly object: PodObject;
  /** How often the sidecar's container was restarted: a new process has a new key. */
  readonly restarts: number;
}

/**
 * Whether a pod, as the API server has it now, is the one that a reviewed token is bound to, alive, and carries our sidecar. Everything is compared: who may
 * make tokens of a service account may bind them to any of its pods.
 * @param raw the Pod; undefined: there is none of that name
 */
export function checkPod(raw: unknown, reviewed: ReviewedPod, sidecar: SidecarMark): CheckedPod | Refusal {
  const name = `${reviewed.namespace}/${reviewed.podName}`;
  if (raw === undefined) return refusal(403, 'pod-gone', `there is no pod ${name}`);
  const decoded = decodeObject({ apiVersion: 'v1', kind: 'Pod', ...(raw as object) });
  if (decoded === 'ignored' || !('object' in decoded) || decoded.object.kind !== 'Pod') {
    return refusal(403, 'pod-differs', `${name} cannot be read`);
  }
  const { object } = decoded;
  const { pod } = object;
  if (pod.uid !== reviewed.podUid) {
    return refusal(403, 'pod-gone', `${name} is another pod now: its uid is not that of the token`);
  }
  if (object.terminating) return refusal(403, 'pod-gone', `${name} is being deleted`);
  if (object.finished) return refusal(403, 'pod-gone', `${name} has ended`);
  if (pod.namespace !== reviewed.namespace || pod.serviceAccount !== reviewed.serviceAccount) {
    return refusal(403, 'pod-differs', `${name} runs as another service account than the token's`);
  }
  if (reviewed.nodeName !== undefined && pod.nodeName !== reviewed.nodeName) {
    return refusal(403, 'pod-differs', `${name} is on another node than the token says`);
  }
  if (!pod.enrolled) {
    return refusal(
      403,
      'no-sidecar',
      `${name} is not enrolled: no label countersign.io/inject=true, or on its node's network`,
    );
  }
  const restarts = sidecarRestarts(raw as Record<string, unknown>, sidecar);
  return restarts === undefined
    ? refusal(403, 'no-sidecar', `${name} has no container ${sidecar.container} with our image`)
    : { object, restarts };
}

function sidecarRestarts(raw: Record<string, unknown>, sidecar: SidecarMark): number | undefined {
  const spec = fields(raw['spec']);
  const carries = (list: unknown): boolean =>
    entries(list).some(
      ({ name, image }) =>
        name === sidecar.container && typeof image === 'string' && isImage(image, sidecar.image),
    );
  if (!carries(spec['containers']) && !carries(spec['initContainers'])) return undefined;
  const status = fields(raw['status']);
  const all = [...entries(status['containerStatuses']), ...entries(status['initContainerStatuses'])];
  const found = all.find(({ name }) => name === sidecar.container);
  return Number.isInteger(found?.['restartCount']) ? Number(found!['restartCount']) : 0;
}

/** Whole names: `countersign` is not what `countersign-of-mine:1` begins with. */
function isImage(image: string, name: string): boolean {
  if (!image.startsWith(name)) return false;
  return name === '' || name.endsWith('/') || ['', ':', '@'].includes(image.charAt(name.length));
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function entries(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.map(fields) : [];
}
