import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { flowId, type KeptFlow } from '../../src/nfqueue/flow-record-lines.ts';
import { FlowStore } from '../../src/nfqueue/flow-store.ts';

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

function flow(port: number): KeptFlow {
  return {
    direction: 'inbound',
    source: { address: '10.0.0.1', port, namespace: 'demo', pod: 'web' },
    destination: { address: '10.0.0.2', port: 80 },
    handshake: 'full',
    since: 1_800_000_000_000,
    judgement: { verdict: 'allow', reason: 'policy-allowed', policy: 'networkpolicy/demo/db', rule: 1 },
    peer: {
      publicKey,
      expiresAt: 1_800_000_100,
      podUid: 'uid-web',
      namespace: 'demo',
      podName: 'web',
      labels: { app: 'web' },
      namespaceLabels: {},
      issuerKeyId: 'issuer',
      issuedAt: 1_800_000_000,
    },
  };
}

function idOf({ direction, source, destination }: KeptFlow): string {
  return flowId(direction, source, destination);
}

const never = (problem: string): void => {
  throw new Error(problem);
};

t.test(
  'flow state: what was verified and has not ended is there for the next run, which has another number',
  (t) => {
    const file = join(t.testdir(), 'flows');
    const first = new FlowStore(file, never);
    t.equal(first.generation, 0);
    for (const port of [1, 2, 3]) first.add(idOf(flow(port)), flow(port));
    first.end(idOf(flow(2)));
    first.close();
    const second = new FlowStore(file, never);
    t.equal(second.generation, 1);
    t.strictSame([...second.kept.keys()], [idOf(flow(1)), idOf(flow(3))]);
    const { peer, ...rest } = second.kept.get(idOf(flow(1)))!;
    const { peer: was, ...expected } = flow(1);
    t.strictSame(rest, expected);
    t.strictSame({ ...peer, publicKey: '' }, { ...was, publicKey: '' });
    t.ok(peer.publicKey.equals(publicKey));
    second.close();
    t.strictSame([...new FlowStore(file, never).kept.keys()], [], 'what nobody took back is forgotten');
    t.end();
  },
);

t.test(
  'flow state: only its owner can read or write it, and a file that others may write is refused',
  (t) => {
    const file = join(t.testdir(), 'flows');
    new FlowStore(file, never).close();
    t.equal(statSync(file).mode & 0o777, 0o600);
    chmodSync(file, 0o666);
    t.throws(() => new FlowStore(file, never), /others may write it; make it 0600 or remove it/);
    t.throws(() => new FlowStore('/nowhere/flows', never), /--flow-state \/nowhere\/flows: /);
    t.end();
  },
);

t.test('flow state: lines that are broken, foreign or lie about themselves make no flow', (t) => {
  const file = join(t.testdir(), 'flows');
  const first = new FlowStore(file, never);
  first.add(idOf(flow(1)), flow(1));
  first.close();
  const good = readFileSync(file, 'utf8').trimEnd().split('\n')[1]!;
  const broken = [
    good.slice(0, 200),
    '{}',
    '[]',
    'null',
    '{"add":{}}',
    good.replace('"id":"inbound 10.0.0.1 1 ', '"id":"inbound 10.0.0.1 7 '),
    good.replaceAll('"verdict":"allow"', '"verdict":"deny"'),
    good.replaceAll('policy-allowed', 'made-up'),
    good.replace('"handshake":"full"', '"handshake":"none"'),
    good.replace('"labels":{"app":"web"}', '"labels":{"app":7}'),
    good.replaceAll('10.0.0.1', '010.0.0.1'),
    good.replace(/"publicKey":"[^"]+"/, '"publicKey":"AAAA"'),
    `{"add":${'x'.repeat(70_000)}}`,
  ];
  for (const line of broken) {
    writeFileSync(file, `${line}\n`);
    const store = new FlowStore(file, never);
    t.equal(store.kept.size, 0, line.slice(0, 80));
    t.equal(store.unreadable, 1);
    store.close();
  }
  writeFileSync(file, `${good}\n`);
  appendFileSync(file, good.slice(0, 100));
  const cut = new FlowStore(file, never);
  t.equal(cut.kept.size, 1, 'a last line that was cut short costs that line alone');
  cut.close();
  t.end();
});

t.test('flow state: a file that many flows went through is written anew', async (t) => {
  const file = join(t.testdir(), 'flows');
  const store = new FlowStore(file, never);
  for (let round = 0; round < 30; round++) {
    for (let port = 1; port <= 500; port++) {
      store.add(idOf(flow(port)), flow(port));
      if (port > 1) store.end(idOf(flow(port)));
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  store.close();
  t.ok(readFileSync(file, 'utf8').split('\n').length < 15_000);
  t.strictSame([...new FlowStore(file, never).kept.keys()], [idOf(flow(1))]);
  t.end();
});
