import { LIMITS } from '../authority-protocol/limits.ts';
import type { StateMessage } from '../authority-protocol/messages.ts';
import { objectName } from '../sources/cluster-contents.ts';
import { type ClusterObject, decodeObject } from '../sources/objects.ts';
import type { SourceProblem } from '../sources/source.ts';
import { standInFor } from '../sources/stand-in.ts';

/** What a sidecar was told of the cluster; a value. */
export interface SliceContents {
  /** `namespace/name`. */
  readonly self: string;
  /** By name; the same objects as long as they say the same. */
  readonly objects: ReadonlyMap<string, ClusterObject>;
  readonly problems: ReadonlyMap<string, SourceProblem>;
  /** Addresses about which everything is said. */
  readonly answered: ReadonlySet<string>;
  readonly networks: { readonly pods: readonly string[]; readonly services: readonly string[] };
  /** Something is missing that would open what it should close: nothing of this counts. */
  readonly unusable: boolean;
}

const NOTHING: Omit<SliceContents, 'self'> = {
  objects: new Map(),
  problems: new Map(),
  answered: new Set(),
  networks: { pods: [], services: [] },
  unusable: false,
};

/**
 * What is known after a message, pure. An object that cannot be read, for instance of a newer release, never opens anything: it stays as it was; a NetworkPolicy
 * that never could be read isolates what it selects; any other policy makes the whole unusable.
 * Throws a `RangeError` when an authority tells more than a sidecar can hold.
 */
export function applyState(before: SliceContents | undefined, message: StateMessage): SliceContents {
  const base = message.reset || before === undefined ? NOTHING : before;
  const objects = new Map(base.objects);
  const problems = new Map(base.problems);
  for (const raw of message.set) {
    const decoded = decodeObject(raw);
    if (decoded === 'ignored') continue;
    if ('object' in decoded) {
      const name = objectName(decoded.object);
      problems.delete(name);
      objects.set(name, sameOr(before?.objects.get(name), decoded.object));
      continue;
    }
    const name = nameOf(raw);
    const [first] = decoded.problems;
    const known = before?.objects.get(name);
    const standIn = known === undefined ? standInFor(raw) : undefined;
    const object: ClusterObject | undefined =
      standIn === undefined ? known : { kind: 'NetworkPolicy', policy: standIn.policy };
    if (object !== undefined) objects.set(name, object);
    const consequence =
      known !== undefined
        ? 'it stays as it was'
        : object !== undefined
          ? 'it isolates its pods and allows nothing'
          : 'nothing counts until it can be read';
    const reason = `${first?.field ?? ''} ${first?.reason ?? 'cannot be read'}; ${consequence}`;
    problems.set(name, { object: name, reason });
  }
  for (const name of message.remove) {
    objects.delete(name);
    problems.delete(name);
  }
  const answered = new Set([...base.answered, ...message.answered]);
  if (objects.size > LIMITS.objects || answered.size > 4 * LIMITS.interests) {
    throw new RangeError(`the authority tells of more than ${LIMITS.objects} objects`);
  }
  return {
    self: message.self,
    objects,
    problems,
    answered,
    networks: message.networks ?? base.networks,
    unusable: [...problems.keys()].some((name) => !objects.has(name) && /policy\//.test(name)),
  };
}

/** Takes back what no longer matters: its answer is not kept up to date from now on. */
export function forget(contents: SliceContents, dropped: readonly string[]): SliceContents {
  const answered = new Set(contents.answered);
  for (const one of dropped) answered.delete(one);
  return { ...contents, answered };
}

/** Several lines that are one message. */
export function joinStates(first: StateMessage, rest: StateMessage): StateMessage {
  return {
    ...first,
    more: rest.more,
    set: [...first.set, ...rest.set],
    remove: [...first.remove, ...rest.remove],
    answered: [...first.answered, ...rest.answered],
    marks: [...first.marks, ...rest.marks],
  };
}

function sameOr(before: ClusterObject | undefined, object: ClusterObject): ClusterObject {
  return before !== undefined && JSON.stringify(before) === JSON.stringify(object) ? before : object;
}

function nameOf(raw: object): string {
  const { kind, metadata } = raw as { kind?: unknown; metadata?: { namespace?: unknown; name?: unknown } };
  const parts = [kind, metadata?.namespace, metadata?.name].filter((one) => typeof one === 'string');
  return `${(parts[0] ?? '').toLowerCase()}${parts
    .slice(1)
    .map((one) => `/${one}`)
    .join('')}`;
}
