import { ephemeralRefusals } from '../inject/ephemeral.ts';
import { grantsOf } from '../inject/grants.ts';
import { imageChangeRefusals } from '../inject/image-change.ts';
import { injectPod, type InjectNamespace } from '../inject/inject-pod.ts';
import { INJECT_LABEL } from '../inject/names.ts';
import type { Pod } from '../inject/pod.ts';
import { verifyPod } from '../inject/verify-pod.ts';
import { warningsOf } from '../inject/warnings.ts';
import type { InjectSettings } from '../inject/settings.ts';
import { dnsLabelFault } from '../policy/syntax.ts';

/** What the API server asks (`admission.k8s.io/v1`), as far as it matters here. */
export interface AdmissionRequest {
  readonly uid: string;
  readonly namespace: string;
  readonly operation: string;
  readonly subResource: string;
  readonly dryRun: boolean;
  readonly pod: Pod;
  readonly oldPod: Pod | undefined;
}

/** How a review came out; the word is the metric's label. */
export type ReviewOutcome = 'injected' | 'skipped' | 'refused' | 'passed';

export interface Review {
  readonly outcome: ReviewOutcome;
  /** Why not injected, or what is wrong. */
  readonly reasons: readonly string[];
  /** The `AdmissionReview` to answer with. */
  readonly answer: object;
}

type Json = Record<string, unknown>;

/**
 * Reads an `AdmissionReview`.
 * @returns what is wrong with it, as a text, when it is none that this webhook can be asked
 */
export function decodeReview(body: unknown): AdmissionRequest | string {
  if (!isObject(body) || body['kind'] !== 'AdmissionReview' || body['apiVersion'] !== 'admission.k8s.io/v1')
    return 'the body is no AdmissionReview of admission.k8s.io/v1';
  const request = body['request'];
  if (!isObject(request) || typeof request['uid'] !== 'string' || request['uid'].length > 128)
    return 'request.uid is missing';
  const { uid, namespace, operation, resource, object, oldObject, subResource, dryRun } = request;
  if (!isObject(resource) || resource['group'] !== '' || resource['resource'] !== 'pods')
    return 'request.resource is not pods';
  if (typeof namespace !== 'string' || typeof operation !== 'string')
    return 'request.namespace or operation is missing';
  // Whoever reaches the injector may ask it, and it asks the API server by this name.
  if (dnsLabelFault(namespace) !== undefined) return 'request.namespace is no name of a namespace';
  if (!isPod(object)) return 'request.object is no Pod';
  return {
    uid,
    namespace,
    operation,
    subResource: typeof subResource === 'string' ? subResource : '',
    dryRun: dryRun === true,
    pod: object,
    oldPod: isPod(oldObject) ? oldObject : undefined,
  };
}

/** Whether the pod is still as it was injected: when it is made, now that every webhook has had its turn, and when it is changed. */
export function answerVerification(
  request: AdmissionRequest,
  namespace: InjectNamespace,
  settings: InjectSettings,
  release: string,
): Review {
  const { operation, subResource, pod, oldPod } = request;
  let problems: readonly string[] = [];
  if (operation === 'CREATE' && subResource === '') problems = verifyPod(pod, namespace, settings, release);
  else if (operation === 'UPDATE') problems = imageChangeRefusals(pod, oldPod, settings);
  return problems.length === 0
    ? { outcome: 'passed', reasons: [], answer: response(request.uid, { allowed: true }) }
    : refused(request.uid, problems);
}

/**
 * The refusal of a ConfigMap that somebody else than the injector writes under the name of the authority's certificates. The webhook configuration
 * says which requests come here.
 * @returns undefined for what is no AdmissionReview
 */
export function refuseBundle(body: unknown): object | undefined {
  const request = isObject(body) ? body['request'] : undefined;
  if (!isObject(request) || typeof request['uid'] !== 'string' || request['uid'].length > 128)
    return undefined;
  return refused(request['uid'], [
    "the certificates in this ConfigMap are those by which sidecars believe the authority, and the injector's to write; leave it alone, or give yours another name",
  ]).answer;
}

/** What to answer: a patch, a refusal with every reason, or nothing to object. */
export function answerReview(
  request: AdmissionRequest,
  namespace: InjectNamespace,
  settings: InjectSettings,
  release: string,
): Review {
  const { uid, pod, oldPod } = request;
  if (request.subResource === 'ephemeralcontainers') {
    const problems = ephemeralRefusals(pod, oldPod, settings, grantsOf(namespace.annotations).grants);
    return problems.length === 0
      ? { outcome: 'passed', reasons: [], answer: response(uid, { allowed: true }) }
      : refused(uid, problems);
  }
  if (request.operation !== 'CREATE' || request.subResource !== '')
    return { outcome: 'passed', reasons: [], answer: response(uid, { allowed: true }) };
  const result = injectPod(pod, namespace, settings, release);
  if (result.outcome === 'refused') return refused(uid, result.problems);
  if (result.outcome === 'skipped') {
    // A namespace that asks, and a pod that says nothing and cannot have one: its author believes it protected.
    const unawares =
      namespace.labels[INJECT_LABEL] === 'true' && pod.metadata?.labels?.[INJECT_LABEL] === undefined;
    const warnings = unawares ? [`countersign: no sidecar: ${result.reason}`] : [];
    return {
      outcome: 'skipped',
      reasons: [result.reason],
      answer: response(uid, { allowed: true, ...(warnings.length > 0 ? { warnings } : {}) }),
    };
  }
  const warnings = warningsOf(pod).map((text) => `countersign: ${text}`);
  return {
    outcome: 'injected',
    reasons: [],
    answer: response(uid, {
      allowed: true,
      patchType: 'JSONPatch',
      patch: Buffer.from(JSON.stringify(patchOf(pod, result.pod))).toString('base64'),
      ...(warnings.length > 0 ? { warnings } : {}),
    }),
  };
}

/** RFC 6902. Whole members are replaced: what lies between two pods matters to nobody, and a difference is where bugs live. */
function patchOf(before: Pod, after: Pod): object[] {
  const operations: object[] =
    before.metadata === undefined ? [{ op: 'add', path: '/metadata', value: {} }] : [];
  for (const part of ['labels', 'annotations'] as const) {
    const value = after.metadata?.[part];
    if (value !== undefined) operations.push({ op: 'add', path: `/metadata/${part}`, value });
    else if (before.metadata?.[part] !== undefined)
      operations.push({ op: 'remove', path: `/metadata/${part}` });
  }
  return [...operations, { op: 'replace', path: '/spec', value: after.spec }];
}

/** Long enough for a dozen problems; the API server hands the text to whoever created the pod. */
const MOST_TEXT = 4_000;

function refused(uid: string, problems: readonly string[]): Review {
  const text = `countersign: ${problems.join('; ')}`;
  const message = text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)} ...` : text;
  return {
    outcome: 'refused',
    reasons: problems,
    answer: response(uid, { allowed: false, status: { code: 403, reason: 'Forbidden', message } }),
  };
}

function response(uid: string, answer: object): object {
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid, ...answer } };
}

function isPod(value: unknown): value is Pod {
  if (!isObject(value) || (value['kind'] !== undefined && value['kind'] !== 'Pod')) return false;
  const { spec, metadata } = value;
  return (
    isObject(spec) && Array.isArray(spec['containers']) && (metadata === undefined || isObject(metadata))
  );
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
