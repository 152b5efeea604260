import t from 'tap';
import { signRequest } from '../../src/authority-protocol/request-proof.ts';
import { ClusterLookup } from '../../src/authority/cluster-lookup.ts';
import { Issuer } from '../../src/authority/issuer.ts';
import type { KubeRequests } from '../../src/authority/kube-access.ts';
import { RecordStore } from '../../src/authority/record-store.ts';
import { toCompact } from '../../src/identity/compact.ts';
import { generateIssuer, generateOwnKey, parseIssuerKey } from '../../src/identity/keys.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import { parseTrustBundle } from '../../src/identity/trust.ts';
import { type ProvenIdentity, TokenVerifier } from '../../src/identity/verify.ts';
import { StoredObject } from '../support/shared-objects.ts';
import { cluster, NODE, rawNamespace, rawPod } from './cluster.ts';

const START = 1_800_000_000;
const AUDIENCE = 'countersign-authority';
const { issuer, bundle } = generateIssuer('cluster.local');
const signer = parseIssuerKey(JSON.stringify(issuer), 'the issuer');
const verifier = new TokenVerifier(parseTrustBundle(JSON.stringify(bundle), 'the bundle'));

/** A service-account token as its end stands in it; only the API server of the test can tell whether it is one. */
function tokenUntil(exp: number, name = 'a'): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part({ exp, jti: name })}.c2ln`;
}

/** Replicas on an API server in the hands of the attacker's best moment. */
function installation() {
  const clock = { now: START };
  const pods = new Map([['web', rawPod('web', { labels: { app: 'web' } })]]);
  /** Tokens that the API server believes, and whose they are. */
  const believed = new Map<string, { name: string; uid: string }>();
  const requests: string[] = [];
  const hooks: { beforeReview?: () => void; beforePod?: () => Promise<void> } = {};
  const kube: KubeRequests = {
    request: async (method, path, options) => {
      requests.push(`${method} ${path}`);
      if (path.endsWith('/tokenreviews')) {
        hooks.beforeReview?.();
        const { token } = (options!.body as { spec: { token: string } }).spec;
        const pod = believed.get(token);
        if (pod === undefined) return { status: { authenticated: false } };
        const extra = {
          'authentication.kubernetes.io/pod-name': [pod.name],
          'authentication.kubernetes.io/pod-uid': [pod.uid],
        };
        const user = { username: 'system:serviceaccount:shop:default', extra };
        return { status: { authenticated: true, audiences: [AUDIENCE], user } };
      }
      await hooks.beforePod?.();
      const pod = pods.get(path.split('/').at(-1)!);
      if (pod === undefined) throw Object.assign(new Error('not found'), { status: 404 });
      return pod;
    },
  };
  const lookup = new ClusterLookup(cluster(rawNamespace('shop'), NODE, pods.get('web')!));
  const shards = Array.from({ length: 16 }, () => new StoredObject());
  const replica = () => {
    const records = new RecordStore({
      objectOf: (shard) => shards[shard]!.handle(),
      isAlive: () => true,
      now: () => clock.now,
    });
    const made = new Issuer({
      kube,
      records,
      lookup: () => lookup,
      signer: () => signer,
      trust: () => ({}),
      sidecar: { container: 'countersign-proxy', image: '' },
      audience: AUDIENCE,
      ttl: 14_400,
      renewAfter: 1_200,
      onSecondKey: () => {},
      now: () => clock.now,
    });
    const ask = async (token: string, key = generateOwnKey()) => {
      const about = { method: 'POST', path: '/v1/identity', body: '{}', token };
      const proof = await signRequest(about, key, clock.now, crypto.randomUUID());
      return made.issue({ token, proof, body: '{}' });
    };
    return { ask, records };
  };
  return { clock, pods, believed, requests, hooks, replica };
}

function identityIn(answer: object): ProvenIdentity {
  const { body } = answer as { body?: { token: string } };
  if (body === undefined) throw new Error(`refused: ${JSON.stringify(answer)}`);
  const verified = verifier.verify(toCompact(body.token), START + 60);
  if (!('identity' in verified)) throw new Error(JSON.stringify(verified));
  return verified.identity;
}

t.test(
  'issuer, attacked: a token that has ended gets nothing, also where a verdict over it is kept',
  async (t) => {
    const { clock, believed, requests, replica } = installation();
    const { ask } = replica();
    const token = tokenUntil(START + 300);
    believed.set(token, { name: 'web', uid: 'uid-web' });
    const key = generateOwnKey();
    t.match(await ask(token, key), { status: 201 });
    clock.now += 200;
    t.match(await ask(token, key), { status: 201 });
    const reviews = () => requests.filter((one) => one.includes('tokenreviews')).length;
    t.equal(reviews(), 1, 'the verdict was kept');
    clock.now += 101;
    believed.clear();
    t.match(await ask(token, key), { status: 401, code: 'token-invalid' });
    t.equal(reviews(), 2);
  },
);

t.test(
  'issuer, attacked: a refusal is kept for nobody, and a verdict counts for its own token alone',
  async (t) => {
    const { believed, replica } = installation();
    const { ask } = replica();
    const [good, bad] = [tokenUntil(START + 3_600), tokenUntil(START + 3_600, 'b')];
    t.match(await ask(good), { code: 'token-invalid' });
    believed.set(good, { name: 'web', uid: 'uid-web' });
    t.match(await ask(good), { status: 201 }, 'it was asked about before it counted');
    t.match(await ask(bad), { code: 'token-invalid' });
    t.match(await ask(`${good.slice(0, -1)}x`), { code: 'token-invalid' });
  },
);

t.test('issuer, attacked: names that are no names never become a path', async (t) => {
  for (const [name, uid] of [
    ['../secrets/countersign-signing-keys', 'uid-web'],
    ['web?x=1', 'uid-web'],
    ['web', '../web'],
    ['web', 'x'.repeat(200)],
  ] as const) {
    const { believed, requests, replica } = installation();
    const token = tokenUntil(START + 3_600);
    believed.set(token, { name, uid });
    t.match(await replica().ask(token), { code: 'token-unbound' }, `${name} ${uid.slice(0, 10)}`);
    t.equal(requests.length, 1, 'nothing but the review was asked for');
  }
});

t.test(
  'issuer, attacked: a pod made anew under a name that a kept verdict names gets nothing by it',
  async (t) => {
    const { pods, believed, requests, replica } = installation();
    const { ask } = replica();
    const token = tokenUntil(START + 3_600);
    believed.set(token, { name: 'web', uid: 'uid-web' });
    t.match(await ask(token), { status: 201 });
    pods.set('web', rawPod('web', { uid: 'uid-new', labels: { app: 'rich' } }));
    believed.clear();
    t.match(await ask(token), { code: 'pod-gone' });
    t.match(await ask(token), { code: 'token-invalid' }, 'and the verdict is forgotten');
    t.equal(requests.filter((one) => one.includes('tokenreviews')).length, 2);
  },
);

t.test(
  'issuer, attacked: labels that change between review and signature are signed as they are then',
  async (t) => {
    const { pods, believed, hooks, replica } = installation();
    const token = tokenUntil(START + 3_600);
    believed.set(token, { name: 'web', uid: 'uid-web' });
    hooks.beforeReview = () => void pods.set('web', rawPod('web', { labels: { app: 'demoted' } }));
    t.match(identityIn(await replica().ask(token)), { labels: { app: 'demoted' } });
  },
);

t.test(
  'issuer, attacked: a replica that has not heard of a second key renews nothing for the first as if it counted',
  async (t) => {
    const { clock, believed, replica } = installation();
    const token = tokenUntil(START + 3_600);
    believed.set(token, { name: 'web', uid: 'uid-web' });
    const [one, two] = [replica(), replica()];
    const [thief, sidecar] = [generateOwnKey(), generateOwnKey()];
    t.match(await one.ask(token, thief), { status: 201 });
    clock.now += 10;
    t.match(await two.ask(token, sidecar), { status: 201 });
    // Nobody has told the first replica: it has its record of the thief's key.
    clock.now += 10;
    const before = two.records.get('uid-web')!;
    const renewed = identityIn(await one.ask(token, thief));
    const after = one.records.get('uid-web')!;
    t.ok(
      after.since > before.since,
      "it counts as another key, which raises the alert and kills the sidecar's",
    );
    t.ok(renewed.issuedAt >= after.since);
  },
);

t.test(
  'issuer, attacked: an identity that was asked for before a second key and signed after it is dead',
  async (t) => {
    const { clock, believed, hooks, replica } = installation();
    const token = tokenUntil(START + 3_600);
    believed.set(token, { name: 'web', uid: 'uid-web' });
    const [one, two] = [replica(), replica()];
    const [thief, sidecar] = [generateOwnKey(), generateOwnKey()];
    t.match(await one.ask(token, thief), { status: 201 });
    // The record is read while the thief's key counts; seconds pass before the answer is signed.
    const { records } = one;
    const claim = records.claim.bind(records);
    records.claim = async (...asked) => {
      const claimed = await claim(...asked);
      clock.now += 3;
      hooks.beforePod = undefined as never;
      await two.ask(token, sidecar);
      clock.now += 3;
      return claimed;
    };
    const late = identityIn(await one.ask(token, thief));
    const revocations = new Revocations();
    revocations.revokeBefore('uid-web', two.records.get('uid-web')!.since, clock.now);
    t.ok(
      revocations.markOver('uid-web', late.issuedAt) !== undefined,
      'the mark of the second key is over it',
    );
  },
);
