import type { FieldProblem } from '../policy/fields.ts';
import { type ClusterObject, decodeObject } from '../sources/objects.ts';
import { standInFor } from '../sources/stand-in.ts';
import type { Labels } from '../policy/model.ts';
import type { SourceProblem } from '../sources/source.ts';
import { markOf, type RawObject } from './watch-event.ts';

/** What is kept of an object of the cluster, and what was wrong with it. */
export interface KeptObject {
  /** kubectl's way: `networkpolicy/shop/db-allow`. */
  readonly name: string;
  readonly kind: string;
  /** undefined: it cannot be read, and never could be. */
  readonly object: ClusterObject | undefined;
  readonly problems: readonly FieldProblem[];
}

/** Annotations of others may be a megabyte (`kubectl apply` keeps the whole manifest in one) and decide nothing here. */
const OWN_ANNOTATION = /(^|\.)countersign\.io\//;

/**
 * Reduces an object to what decides who is where and what is allowed. Pure. What cannot be read never opens anything: a NetworkPolicy isolates what it
 * selects and allows nothing, everything else stays as it was.
 */
export function keepObject(raw: RawObject, before: KeptObject | undefined): KeptObject | undefined {
  const decoded = decodeObject(raw);
  if (decoded === 'ignored') return undefined;
  const kind = String(raw['kind']);
  const name = `${kind.toLowerCase()}/${markOf(raw).key}`;
  if ('object' in decoded) return { name, kind, object: trimmed(decoded.object), problems: [] };
  const standIn = standInFor(raw);
  const object: ClusterObject | undefined =
    standIn === undefined ? before?.object : { kind: 'NetworkPolicy', policy: standIn.policy };
  return { name, kind, object, problems: decoded.problems };
}

/** Kinds that must not be missing: a denial, or what tells an address of the cluster from one outside. */
const NEVER_WITHOUT = new Set([
  'Node',
  'ServiceCIDR',
  'Service',
  'ClusterNetworkPolicy',
  'AdminNetworkPolicy',
  'BaselineAdminNetworkPolicy',
]);

/** Whether an object is missing that would open something by not being there. */
export function opensByAbsence({ kind, object }: KeptObject): boolean {
  return object === undefined && NEVER_WITHOUT.has(kind);
}

/** What is said about an object that cannot be read; undefined where there is nothing wrong. */
export function complaintAbout(kept: KeptObject): SourceProblem | undefined {
  const [first] = kept.problems;
  if (first === undefined) return undefined;
  const consequence =
    kept.kind === 'NetworkPolicy'
      ? 'it isolates its pods and allows nothing'
      : kept.object !== undefined
        ? 'it stays in force as it was'
        : opensByAbsence(kept)
          ? 'until it can be read, everything stays as it was'
          : 'it is left out';
  return { object: kept.name, reason: `${first.field} ${first.reason}; ${consequence}` };
}

function trimmed(object: ClusterObject): ClusterObject {
  return object.kind === 'Pod' || object.kind === 'Namespace'
    ? { ...object, annotations: ownAnnotations(object.annotations) }
    : object;
}

function ownAnnotations(annotations: Labels): Labels {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => OWN_ANNOTATION.test(key)));
}
