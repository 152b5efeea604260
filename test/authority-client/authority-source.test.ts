import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { AuthoritySource } from '../../src/authority-client/authority-source.ts';
import type { StateMessage } from '../../src/authority-protocol/messages.ts';
import type { Authority } from '../../src/authority/authority.ts';
import { Installation } from '../authority/installation.ts';
import { NODE, rawNamespace, rawPod, rawPolicy } from '../authority/cluster.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import type { FakeObject } from '../support/fake-store.ts';
import { until } from '../support/until.ts';
import { type SourceContents, type SourceOrigin, testSource } from '../support/source-compliance.ts';

/** An authority on an API server; spoiling it takes the authority away. */
async function makeAuthorityOrigin(): Promise<SourceOrigin> {
  const ends: (() => unknown)[] = [];
  const t = { teardown: (end: () => unknown) => void ends.push(end) };
  const api = await new FakeApiServer().start();
  const put = (object: object): void => void api.put(object as FakeObject);
  for (const name of ['shop', 'countersign-system']) put(rawNamespace(name));
  put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: 'shop', name: 'default' } });
  put(NODE);
  put(rawPod('web', { address: '10.1.0.2' }));
  const client = api.client();
  const at = new Installation(t, client);
  let authority: Authority | undefined = await at.authority();
  const { port } = authority.endpoint!;
  const tokenFile = await at.tokenFile('web');
  const address = authority;
  let policies = new Set<string>();
  return {
    open: () => at.link([address], tokenFile).source,
    write: async ({ labels, policies: wanted }: SourceContents) => {
      put(rawPod('web', { address: '10.1.0.2', labels }));
      for (const name of wanted) put(rawPolicy(name, {}));
      for (const name of policies) if (!wanted.includes(name)) api.remove(rawPolicy(name, {}) as FakeObject);
      policies = new Set(wanted);
      authority ??= await at.authority({ port });
      await quiet();
    },
    spoil: async () => {
      await authority?.close();
      authority = undefined;
    },
    remove: async () => {
      for (const end of ends.toReversed()) await end();
      await client.close();
      await api.close();
    },
  };
}

/** Until nothing comes and goes: the servers are in this process, too, and their connections are not the source's. */
async function quiet(): Promise<void> {
  let same = 0;
  let before = '';
  await until('the servers are at rest', async () => {
    await sleep(20);
    const now = process
      .getActiveResourcesInfo()
      .filter((one) => one !== 'Timeout')
      .toSorted()
      .join();
    same = now === before ? same + 1 : 0;
    before = now;
    return same > 10;
  });
}

testSource(t, 'authority source', makeAuthorityOrigin);

t.test(
  'authority source: what is said about another pod than the own is refused, and changes nothing',
  (t) => {
    const source = new AuthoritySource({
      pod: 'shop/web',
      mode: 'enforce',
      onQuestions: () => {},
      onStart: () => {},
      onClose: () => Promise.resolve(),
    });
    const state = (self: string, policies: readonly object[]): StateMessage => ({
      type: 'state',
      reset: true,
      more: false,
      self,
      set: [rawNamespace('shop'), rawPod('web'), rawPod('db'), ...policies],
      remove: [],
      answered: [],
      marks: [],
      networks: { pods: ['10.1.0.0/16'], services: [] },
    });
    source.take(state('shop/web', [rawPolicy('isolates', {})]));
    const before = source.snapshot;
    t.strictSame(
      before?.policies.map(({ name }) => name),
      ['isolates'],
    );
    t.throws(() => source.take(state('shop/db', [])), {
      message: /names the pod shop\/db, and --pod says shop\/web/,
    });
    t.equal(source.snapshot, before);
    t.end();
  },
);
