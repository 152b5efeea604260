import fc from 'fast-check';
import t from 'tap';
import { readManifestText, type ManifestFile } from '../../src/sources/manifest-file.ts';
import { type FolderState, nextFolderState } from '../../src/sources/folder-state.ts';
import { policy } from './folder.ts';

/** What a file holds at one moment: policies with a version each, or something that cannot be read. */
type Content = { readonly policies: Readonly<Record<string, number>> } | 'broken' | 'broken-policy';

const NAMES = ['a.yaml', 'b.yaml', 'c.yaml'];
const POLICIES = ['p', 'q', 'r'];

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);

const content: fc.Arbitrary<Content> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ policies: fc.dictionary(fc.constantFrom(...POLICIES), fc.nat(3)) }) },
  { weight: 1, arbitrary: fc.constant('broken' as const) },
  { weight: 1, arbitrary: fc.constant('broken-policy' as const) },
);
const folder = fc.dictionary(fc.constantFrom(...NAMES), content, { noNullPrototype: true });

function fileOf(what: Content, name: string): ManifestFile {
  if (what === 'broken') return readManifestText('kind: [', name);
  if (what === 'broken-policy') return readManifestText(policy('new', '7'), name);
  const texts = Object.entries(what.policies).map(([name, version]) => policy(name, `v${version}`));
  return readManifestText(texts.length === 0 ? '# none\n' : texts.join('---\n'), name);
}

const filesOf = (contents: Readonly<Record<string, Content>>): Map<string, ManifestFile> =>
  new Map(
    Object.entries(contents)
      .toSorted(byName)
      .map(([name, what]) => [name, fileOf(what, name)]),
  );

const inForce = (state: FolderState | undefined): Map<string, string> =>
  new Map(
    state?.objects.flatMap((object) =>
      object.kind === 'NetworkPolicy' ? [[object.policy.name, JSON.stringify(object.policy)] as const] : [],
    ),
  );

t.test(
  'folder state: whatever happens to files, a policy goes only when every file is in order and none has it',
  (t) => {
    fc.assert(
      fc.property(fc.array(folder, { minLength: 1, maxLength: 8 }), (steps) => {
        let state: FolderState | undefined;
        for (const contents of steps) {
          const files = filesOf(contents);
          const broken = [...files.values()].some((file) => file.problems.length > 0);
          const next = nextFolderState(state, files, 'shop');
          const before = inForce(state);
          const after = inForce(next.state);
          if (broken) {
            t.ok(next.problems.length > 0, 'a broken file is told of');
            if (state === undefined) t.equal(next.state, undefined);
            for (const name of before.keys()) t.ok(after.has(name), `${name} stays`);
          } else {
            for (const name of before.keys()) {
              const there = Object.values(contents).some(
                (one) => typeof one === 'object' && name in one.policies,
              );
              if (next.state !== undefined) t.equal(after.has(name), there, name);
            }
          }
          // What is in force was in force before, was written somewhere, or allows nothing.
          const written = new Set(
            [...files.values()].flatMap((file) =>
              file.objects.map((object) =>
                object.kind === 'NetworkPolicy' ? JSON.stringify(object.policy) : '',
              ),
            ),
          );
          for (const [name, text] of after) {
            const closed = text.includes('"ingress":[],"egress":[]');
            t.ok(before.get(name) === text || written.has(text) || closed, text);
          }
          state = next.state ?? state;
        }
      }),
      { numRuns: 500 },
    );
    t.end();
  },
);

t.test(
  'folder state: the order of files does not matter to policies, and what stays the same stays the same object',
  (t) => {
    fc.assert(
      fc.property(folder, folder, (one, other) => {
        const first = nextFolderState(undefined, filesOf(one), 'shop').state;
        const again = nextFolderState(first, filesOf(one), 'shop').state;
        t.strictSame(
          again?.objects.map((object, index) => object === first!.objects[index]) ?? [],
          first?.objects.map(() => true) ?? [],
        );
        const files = filesOf(other);
        const backwards = new Map([...files].toReversed());
        t.strictSame(
          new Map(
            [...inForce(nextFolderState(first, files, 'shop').state)].toSorted(([a], [b]) =>
              a < b ? -1 : 1,
            ),
          ),
          new Map(
            [...inForce(nextFolderState(first, backwards, 'shop').state)].toSorted(([a], [b]) =>
              a < b ? -1 : 1,
            ),
          ),
        );
      }),
      { numRuns: 300 },
    );
    t.end();
  },
);
