import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { performancePage } from '../../bench/document.ts';
import type { Plan } from '../../bench/plan.ts';
import { Progress } from '../../bench/progress.ts';
import { Session } from '../../bench/session.ts';
import { initTrustDomain } from '../../src/identity/files.ts';
import { cannotNetns } from '../support/netns.ts';

const skip = cannotNetns();
t.setTimeout(900_000);

const RATE = { kind: 'rate', seconds: 0.2, number: 4 } as const;
const TINY: Plan = {
  rounds: 1,
  roundsUntilMs: 60_000,
  loads: [
    { kind: 'bulk8', order: { kind: 'bulk', seconds: 0.1, number: 8 } },
    { kind: 'ping', order: { kind: 'ping', seconds: 0.1, number: 100 } },
    { kind: 'connect', order: { kind: 'connect', seconds: 0.1, number: 5 } },
    { kind: 'rate', order: RATE },
  ],
  kernelRounds: 1,
  farRounds: 1,
  far: { kind: 'connect', seconds: 5, number: 2 },
  firstContacts: 1,
  idleConnections: 50,
  starts: 1,
  patienceMs: 0,
};

t.test('benchmark: a whole tiny run, and what makes a sample void', { skip }, async (t) => {
  const session = new Session(TINY, (id) => ['direct', 'countersign'].includes(id), 'source');
  t.teardown(() => session.place.close());
  await session.start();

  t.test('benchmark: every phase has its samples for every variant, and nothing goes wrong', async (t) => {
    const progress = new Progress(8, () => {});
    await session.rounds(progress);
    await session.firstContacts(progress);
    await session.far(progress);
    const result = session.result(true);
    t.strictSame(result.problems, []);
    for (const variant of ['direct', 'countersign']) {
      const kinds = result.samples.filter((one) => one.variant === variant).map(({ kind }) => kind);
      t.strictSame(kinds, ['bulk8', 'ping', 'connect', 'rate', 'first', 'far'], variant);
    }
    for (const { variant, kind, proxyCpu, bytes, p50, connections } of result.samples) {
      t.equal(proxyCpu > 0, variant !== 'direct', `${variant} ${kind}: CPU of proxies where there are some`);
      t.ok(connections > 0 && (kind === 'bulk8' ? bytes > 0 : p50 > 0), `${variant} ${kind}`);
    }
    const far = result.samples.filter(({ kind }) => kind === 'far').map(({ p50 }) => p50);
    t.ok(Math.min(...far) >= 40_000, 'two round trips of a link with 10 ms each way');
    t.match(performancePage(result), '| **Countersign, redirect** ');
  });

  t.test(
    'benchmark: tokens of which nothing holds in the middle of a run take the rate to zero',
    async (t) => {
      const { meter, place, variants } = session;
      const ours = variants.find(({ id }) => id === 'countersign')!;
      const trust = join(place.cluster.folder, 'trust/trust.jwks');
      const before = readFileSync(trust);
      initTrustDomain('cluster.local', join(place.cluster.folder, 'other'), false);
      const complaint = (): Promise<string> =>
        meter.sample(ours, 'rate', 0, RATE).then(
          () => '',
          (error: Error) => error.message,
        );
      const until = async (wanted: (text: string) => boolean): Promise<string> => {
        // Sidecars look at their files once a second.
        for (const deadline = Date.now() + 60_000; ;) {
          const text = await complaint();
          if (wanted(text) || Date.now() > deadline) return text;
        }
      };
      copyFileSync(join(place.cluster.folder, 'other/trust.jwks'), trust);
      t.match(await until((text) => text.includes('beside 0,')), /connections failed beside 0, the first/);
      writeFileSync(trust, before);
      t.equal(await until((text) => text === ''), '', 'with the right issuer it goes on');
    },
  );

  t.test('benchmark: a sample is void when its connections did not go through the sidecars', async (t) => {
    const { meter, place, variants } = session;
    const ours = variants.find(({ id }) => id === 'countersign')!;
    for (const host of [ours.client, ...ours.servers])
      await place.cluster.countersign(host, 'redirect', 'remove');
    await t.rejects(
      meter.sample(ours, 'rate', 0, RATE),
      /the sample is void: \d+ connections were made, 0 were counted/,
    );
  });

  t.test('benchmark: memory is that of connections at rest that were proven, each of them', async (t) => {
    const { place, variants } = session;
    const ours = variants.find(({ id }) => id === 'countersign')!;
    for (const host of [ours.client, ...ours.servers]) await place.cluster.applyRules(host);
    const before = session.result(true).problems.length;
    await session.memory(new Progress(2, () => {}));
    const { memory, start, problems } = session.result(true);
    t.strictSame(problems.slice(before), []);
    t.equal(memory?.connections, TINY.idleConnections);
    t.equal(start?.milliseconds.length, TINY.starts);
  });
});
