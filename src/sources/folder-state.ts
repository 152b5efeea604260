import { objectName } from './cluster-contents.ts';
import type { ManifestFile } from './manifest-file.ts';
import type { ClusterObject, NetworkPolicyObject } from './objects.ts';
import type { SourceProblem } from './source.ts';

/** What of a folder is in force. */
export interface FolderState {
  /** Each object once. The same objects, one by one, as long as they say the same. */
  readonly objects: readonly ClusterObject[];
  /** Of each file the last state that was in order, or that it never was. */
  readonly good: ReadonlyMap<string, readonly ClusterObject[] | undefined>;
  /** Names of policies that only stand for one that cannot be read. */
  readonly standIns: ReadonlySet<string>;
}

/** More of one kind is summed up: a report has to be readable. */
const MOST_TOLD = 20;

/**
 * What is in force after a folder was read, pure. What is wrong never opens anything:
 * - the first state needs every file in order, since a policy may stand in the one that is not;
 * - a file that breaks stays in force as it was;
 * - while any file is broken nothing is taken away: what is gone from one file may stand in the one that cannot be read;
 * - a policy that cannot be read and never could be isolates what it selects, {@link ManifestFile.standIns};
 * - of two policies with one name and different contents the one in force stays.
 * @param ownNamespace where a policy counts that does not even say where it is
 * @returns undefined as `state` as long as nothing may be in force
 */
export function nextFolderState(
  previous: FolderState | undefined,
  files: ReadonlyMap<string, ManifestFile>,
  ownNamespace: string,
): { readonly state: FolderState | undefined; readonly problems: readonly SourceProblem[] } {
  const broken = [...files.values()].filter((file) => file.problems.length > 0);
  const problems = [...files.values()].flatMap((file) => [...file.problems, ...file.warnings]);
  const inForce = new Map(previous?.objects.map((object) => [objectName(object), object]));
  const good = new Map<string, readonly ClusterObject[] | undefined>();
  for (const [name, file] of files) {
    const known = previous?.good.get(name);
    good.set(name, file.problems.length > 0 ? known : file.objects.map((object) => sameOr(inForce, object)));
  }
  const claims = [...good].map(([name, known = []]) =>
    // Of a broken file nothing counts that was not in force: who disputed it may be gone, or be in the broken part.
    (files.get(name)?.problems.length ?? 0) > 0
      ? known.map((object) => inForce.get(objectName(object)) ?? object)
      : known,
  );
  const { objects, doubled, disputed } = unite(claims.flat(), inForce);
  const twice = doubled.map((object) => ({
    object,
    reason: 'is there more than once; the first file by name counts',
  }));
  const conflicts = disputed.map((policy) => ({
    object: objectName(policy),
    reason: inForce.has(objectName(policy))
      ? 'is there more than once, with different contents; the one that was in force before stays'
      : 'is there more than once, with different contents; it isolates its pods and allows nothing',
  }));
  problems.push(...atMost(twice), ...atMost(conflicts));
  if (previous === undefined && (broken.length > 0 || disputed.length > 0))
    return { state: undefined, problems };
  const names = new Set(objects.map(objectName));
  const kept = broken.length === 0 ? [] : [...inForce].filter(([name]) => !names.has(name));
  objects.push(...kept.map(([, object]) => object));
  const standIns = new Set(kept.flatMap(([name]) => (previous?.standIns.has(name) === true ? [name] : [])));
  const gone = kept
    .filter(([name]) => !standIns.has(name))
    .map(([object]) => ({
      object,
      reason: 'is gone from the folder; it stays in force until every file is in order',
    }));
  problems.push(...atMost(gone));
  for (const { policy, anywhere } of broken.flatMap((file) => file.standIns)) {
    const stand: NetworkPolicyObject = {
      kind: 'NetworkPolicy',
      policy: anywhere ? { ...policy, namespace: ownNamespace } : policy,
    };
    const name = objectName(stand);
    // An older version that could be read is better, and so is the stand-in of before: it is the same.
    if (names.has(name) || inForce.has(name)) continue;
    names.add(name);
    standIns.add(name);
    objects.push(stand);
  }
  const isolating = [...standIns].map((object) => ({
    object,
    reason: 'never could be read: until it can, it isolates its pods and allows nothing',
  }));
  problems.push(...atMost(isolating));
  return { state: { objects, good, standIns }, problems };
}

/** The object of before where the new one says the same, so that what was compiled from it stays. */
function sameOr(inForce: ReadonlyMap<string, ClusterObject>, object: ClusterObject): ClusterObject {
  const known = inForce.get(objectName(object));
  if (known === object) return object;
  return known !== undefined && JSON.stringify(known) === JSON.stringify(object) ? known : object;
}

interface United {
  readonly objects: ClusterObject[];
  /** Names that stand for several objects. */
  readonly doubled: string[];
  /** Policies with two contents. */
  readonly disputed: NetworkPolicyObject[];
}

function unite(claims: readonly ClusterObject[], inForce: ReadonlyMap<string, ClusterObject>): United {
  const byName = new Map<string, ClusterObject>();
  const doubled = new Set<string>();
  const disputed = new Map<string, NetworkPolicyObject>();
  for (const object of claims) {
    const name = objectName(object);
    const first = byName.get(name);
    if (first === undefined) {
      byName.set(name, object);
    } else if (JSON.stringify(first) !== JSON.stringify(object)) {
      if (object.kind === 'NetworkPolicy' && first.kind === 'NetworkPolicy') {
        disputed.set(name, object);
        byName.set(name, inForce.get(name) ?? withoutRules(first));
      } else doubled.add(name);
    }
  }
  return { objects: [...byName.values()], doubled: [...doubled], disputed: [...disputed.values()] };
}

/** Selects the whole namespace: the two may select different pods. */
function withoutRules({ policy }: NetworkPolicyObject): NetworkPolicyObject {
  return {
    kind: 'NetworkPolicy',
    policy: {
      ...policy,
      podSelector: { matchLabels: {}, matchExpressions: [] },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [],
      egress: [],
    },
  };
}

function atMost(problems: readonly SourceProblem[]): SourceProblem[] {
  if (problems.length <= MOST_TOLD) return [...problems];
  const more = problems.length - MOST_TOLD;
  const { reason } = problems[0]!;
  return [...problems.slice(0, MOST_TOLD), { reason: `${more} more objects: ${reason}` }];
}
