/** Fills the file of verified flows in a folder whose file system is small, and says what a next run would read; run by flow-store-full.test.ts in a mount namespace. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { flowId, type KeptFlow } from '../../src/nfqueue/flow-record-lines.ts';
import { FlowStore } from '../../src/nfqueue/flow-store.ts';

const file = join(process.argv[2]!, 'flows');
const publicKey = { verify: () => true };
const problems: string[] = [];
const store = new FlowStore(file, (problem) => problems.push(problem));
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function flow(port: number, pod: string): KeptFlow {
  return {
    direction: 'inbound',
    source: { address: '10.0.0.1', port, namespace: 'demo', pod },
    destination: { address: '10.0.0.2', port: 80 },
    handshake: 'full',
    since: 1_800_000_000_000,
    judgement: { verdict: 'allow', reason: 'policy-allowed', policy: 'networkpolicy/demo/db', rule: 1 },
    peer: {
      publicKey,
      expiresAt: 1_800_000_100,
      podUid: `uid-${pod}`,
      namespace: 'demo',
      podName: pod,
      labels: { app: pod },
      namespaceLabels: {},
      issuerKeyId: 'issuer',
      issuedAt: 1_800_000_000,
    },
  };
}
function idOf({ direction, source, destination }: KeptFlow): string {
  return flowId(direction, source, destination);
}
/** As a run after a crash reads it: from a copy, since reading begins a new run. */
function nextRun(): { flows: number; podAtFirstPort: string | undefined } {
  const copy = join(process.argv[3]!, 'copy');
  copyFileSync(file, copy);
  const next = new FlowStore(copy, () => {});
  const podAtFirstPort = next.kept.get(idOf(flow(1, 'web')))?.peer.podName;
  next.close();
  return { flows: next.kept.size, podAtFirstPort };
}

// Many flows one after the other, few at a time: more than the place has.
let churned = 0;
for (; churned < 20_000; churned++) {
  const one = flow(1 + (churned % 60_000), 'web');
  store.add(idOf(one), one);
  if (churned % 10 === 0) await turn();
  store.end(idOf(one));
}
await turn();
const afterChurn = { problems: problems.length, ...nextRun() };

// More at a time than it has space for.
let open = 0;
while (problems.length === 0 && open < 50_000) {
  open++;
  const one = flow(open, 'web');
  store.add(idOf(one), one);
  await turn();
}
const told = problems[0];
// The first one ends, and somebody else connects from the same address and port.
store.end(idOf(flow(1, 'web')));
store.add(idOf(flow(1, 'other')), flow(1, 'other'));
await turn();
const whenFull = nextRun();

for (let port = 2; port <= open - 100; port++) {
  store.end(idOf(flow(port, 'web')));
  if (port % 100 === 0) await turn();
}
await turn();
const whenEmptier = nextRun();
process.stdout.write(
  `${JSON.stringify({ afterChurn, open, told, whenFull, whenEmptier, problems: problems.length })}\n`,
);
