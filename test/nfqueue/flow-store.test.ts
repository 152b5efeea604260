import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { flowId, type KeptFlow } from '../../src/nfqueue/flow-record-lines.ts';
import { FlowStore } from '../../src/nfqueue/flow-store.ts';
import { WEB } from './web-identity.ts';

function flow(port: number): KeptFlow {
  return {
    direction: 'inbound',
    source: { address: '10.0.0.1', port, namespace: 'demo', pod: 'web' },
    destination: { address: '10.0.0.2', port: 80 },
    handshake: 'full',
    since: 1_800_000_000_000,
    judgement: { verdict: 'allow', reason: 'policy-allowed', policy: 'networkpolicy/demo/db', rule: 1 },
    peer: WEB,
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
    t.notOk(peer.publicKey.verify(new Uint8Array(32), new Uint8Array(64)), 'its key is not kept');
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
  const [, who, good] = readFileSync(file, 'utf8').trimEnd().split('\n') as [string, string, string];
  const flows = [
    good.slice(0, 200),
    '{}',
    '[]',
    'null',
    '{"add":{}}',
    good.replace('"id":"inbound 10.0.0.1 1 ', '"id":"inbound 10.0.0.1 7 '),
    good.replaceAll('"verdict":"allow"', '"verdict":"deny"'),
    good.replaceAll('policy-allowed', 'made-up'),
    good.replace('"handshake":"full"', '"handshake":"none"'),
    good.replaceAll('10.0.0.1', '010.0.0.1'),
    good.replace('"peer":0', '"peer":1'),
    good.replace('"peer":0', '"peer":"__proto__"'),
    `{"add":${'x'.repeat(70_000)}}`,
  ];
  const peers = [
    who.replace('"labels":{"app":"web"}', '"labels":{"app":7}'),
    who.replace('"podUid":"uid-web"', '"podUid":7'),
    who.replace('"expiresAt":1800000100', '"expiresAt":"late"'),
    '{"peer":0}',
    '{"peer":0,"is":null}',
  ];
  const files = [
    ...flows.map((line) => ({ text: `${who}\n${line}\n`, line, unreadable: 1 })),
    ...peers.map((line) => ({ text: `${line}\n${good}\n`, line, unreadable: 2 })),
    { text: `${good}\n${who}\n`, line: 'a flow before its peer', unreadable: 1 },
  ];
  for (const { text, line, unreadable } of files) {
    t.ok(line === 'a flow before its peer' || ![who, good].includes(line), 'it is another line');
    writeFileSync(file, text);
    const store = new FlowStore(file, never);
    t.equal(store.kept.size, 0, line.slice(0, 80));
    t.equal(store.unreadable, unreadable);
    store.close();
  }
  const other = who.replaceAll('"web"', '"other"');
  writeFileSync(file, `${who}\n${other}\n${good}\n`);
  const twice = new FlowStore(file, never);
  t.equal(twice.kept.get(idOf(flow(1)))?.peer.podName, 'web', 'a peer is not replaced by a later line');
  t.equal(twice.unreadable, 1);
  twice.close();
  writeFileSync(file, `${who}\n${good}\n`);
  appendFileSync(file, good.slice(0, 100));
  const cut = new FlowStore(file, never);
  t.equal(cut.kept.size, 1, 'a last line that was cut short costs that line alone');
  cut.close();
  t.end();
});

t.test('flow state: a file that many flows went through is written anew', async (t) => {
  const file = join(t.testdir(), 'flows');
  const store = new FlowStore(file, never);
  let longest = 0;
  for (let round = 0; round < 30; round++) {
    for (let port = 1; port <= 500; port++) {
      store.add(idOf(flow(port)), flow(port));
      if (port > 1) store.end(idOf(flow(port)));
    }
    await new Promise((resolve) => setImmediate(resolve));
    longest = Math.max(longest, statSync(file).size);
  }
  store.close();
  t.ok(longest < 2_000_000, `at most ${longest} bytes`);
  t.strictSame([...new FlowStore(file, never).kept.keys()], [idOf(flow(1))]);
  t.end();
});

t.test('flow state: where no second file can be opened the one that is there is written anew', async (t) => {
  const file = join(t.testdir(), 'flows');
  const store = new FlowStore(file, never);
  mkdirSync(`${file}.new`);
  let [length, shrank] = [0, 0];
  for (let round = 0; round < 12; round++) {
    for (let port = 1; port <= 500; port++) {
      store.add(idOf(flow(port)), flow(port));
      if (port > 1) store.end(idOf(flow(port)));
    }
    await new Promise((resolve) => setImmediate(resolve));
    const { size } = statSync(file);
    if (size < length) shrank++;
    length = size;
  }
  store.close();
  t.ok(shrank > 0, 'it was written anew');
  rmdirSync(`${file}.new`);
  t.strictSame([...new FlowStore(file, never).kept.keys()], [idOf(flow(1))]);
});
