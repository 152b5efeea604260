import t from 'tap';
import { checkPod } from '../../src/authority/pod-check.ts';
import {
  claimKey,
  decodeRecords,
  encodeRecords,
  shardOf,
  SHARDS,
} from '../../src/authority/identity-records.ts';
import { mergeBlocks } from '../../src/authority/networks.ts';
import { RateLimit } from '../../src/authority/rate-limit.ts';
import { readTokenReview, tokenReviewFor } from '../../src/authority/token-review.ts';
import { rawPod } from './cluster.ts';

const EXTRA = {
  'authentication.kubernetes.io/pod-name': ['web'],
  'authentication.kubernetes.io/pod-uid': ['uid-web'],
  'authentication.kubernetes.io/node-name': ['node-1'],
};
const review = (over: object = {}, user: object = {}) => ({
  status: {
    authenticated: true,
    audiences: ['countersign-authority'],
    user: { username: 'system:serviceaccount:shop:default', extra: EXTRA, ...user },
    ...over,
  },
});
const REVIEWED = {
  namespace: 'shop',
  serviceAccount: 'default',
  podName: 'web',
  podUid: 'uid-web',
  nodeName: 'node-1',
};
const SIDECAR = { container: 'countersign-proxy', image: 'countersign' };
const AUDIENCE = 'countersign-authority';

t.test('token review: asks for the own audience alone, and reads whose token it is', (t) => {
  t.match(tokenReviewFor('x', AUDIENCE), { spec: { token: 'x', audiences: ['countersign-authority'] } });
  t.strictSame(readTokenReview(review(), AUDIENCE), REVIEWED);
  const old = readTokenReview(
    review({}, { extra: { ...EXTRA, 'authentication.kubernetes.io/node-name': undefined } }),
    AUDIENCE,
  );
  t.match(old, { podUid: 'uid-web', nodeName: undefined });
  t.end();
});

t.test('token review: whatever is not certainly a token of a pod for this audience is refused', (t) => {
  const refused: Record<string, [unknown, string]> = {
    'not authenticated': [review({ authenticated: false }), 'token-invalid'],
    'an error of the API server': [{ status: { error: 'x' } }, 'token-invalid'],
    'nothing at all': [undefined, 'token-invalid'],
    'another audience': [review({ audiences: ['https://kubernetes.default.svc'] }), 'token-invalid'],
    'a server that does not look at audiences': [review({ audiences: undefined }), 'token-invalid'],
    'a person': [review({}, { username: 'admin' }), 'token-invalid'],
    'a name that only looks like one': [
      review({}, { username: 'system:serviceaccount:shop:a:b' }),
      'token-invalid',
    ],
    'a token that is bound to nothing': [review({}, { extra: {} }), 'token-unbound'],
    'two pods': [
      review({}, { extra: { ...EXTRA, 'authentication.kubernetes.io/pod-uid': ['a', 'b'] } }),
      'token-unbound',
    ],
  };
  for (const [what, [given, code]] of Object.entries(refused))
    t.match(readTokenReview(given, AUDIENCE), { code }, what);
  t.end();
});

t.test('pod check: the living pod of the token with our sidecar passes, with its restarts', (t) => {
  const checked = checkPod(rawPod('web', { restarts: 3 }), REVIEWED, SIDECAR);
  t.match(checked, { restarts: 3, object: { pod: { uid: 'uid-web' } } });
  t.end();
});

t.test(
  'pod check: a pod that is not the one of the token, not alive, or without our sidecar gets nothing',
  (t) => {
    const refused: Record<string, [unknown, string]> = {
      'no such pod': [undefined, 'pod-gone'],
      'another pod of that name': [rawPod('web', { uid: 'uid-new' }), 'pod-gone'],
      'a pod that is being deleted': [rawPod('web', { deleting: true }), 'pod-gone'],
      'a pod that has ended': [rawPod('web', { phase: 'Succeeded' }), 'pod-gone'],
      'a pod that has failed': [rawPod('web', { phase: 'Failed' }), 'pod-gone'],
      'another service account': [rawPod('web', { serviceAccount: 'other' }), 'pod-differs'],
      'another node': [rawPod('web', { node: 'node-2' }), 'pod-differs'],
      'a pod that is not enrolled': [rawPod('web', { enrolled: false }), 'no-sidecar'],
      'a label without a sidecar': [
        rawPod('web', { enrolled: false, labels: { 'countersign.io/inject': 'true' } }),
        'no-sidecar',
      ],
      'an image whose name begins with that of ours': [
        rawPod('web', { image: 'countersign-of-mine:1' }),
        'no-sidecar',
      ],
      "a sidecar of somebody's own": [rawPod('web', { image: 'evil/countersign:1' }), 'no-sidecar'],
    };
    for (const [what, [raw, code]] of Object.entries(refused)) {
      t.match(checkPod(raw, REVIEWED, SIDECAR), { code }, what);
    }
    t.end();
  },
);

const [KEY_A, KEY_B] = ['a'.repeat(43), 'b'.repeat(43)];

t.test(
  'identity records: a second key revokes the first to the second, and only a restart explains it',
  (t) => {
    const first = claimKey(undefined, KEY_A, 0, 1_000.5);
    t.match(first, { kind: 'new', replaced: false, alert: false, record: { since: 0 } });
    t.match(claimKey(first.record, KEY_A, 0, 2_000), { kind: 'known' });
    const thief = claimKey(first.record, KEY_B, 0, 2_000.9);
    t.match(thief, { kind: 'new', replaced: true, alert: true, record: { key: KEY_B, since: 2_001 } });
    const back = claimKey(thief.record, KEY_A, 0, 2_000.95);
    t.match(
      back,
      { alert: true, record: { key: KEY_A, since: 2_002 } },
      'and so on: never the same second twice',
    );
    t.match(claimKey(first.record, KEY_B, 1, 2_000), { replaced: true, alert: false });
    t.end();
  },
);

t.test('identity records: come back as they were written, and rubbish is left out', (t) => {
  const records = new Map([['uid-1', { key: KEY_A, since: 17, restarts: 2 }]]);
  t.strictSame(decodeRecords(encodeRecords(records)), records);
  t.equal(decodeRecords({ a: '', b: 'x 1 2', c: `${KEY_A} -1 0`, d: `${KEY_A} 1` }).size, 0);
  const shards = new Set(Array.from({ length: 500 }, (_, at) => shardOf(`uid-${at}`)));
  t.equal(shards.size, SHARDS);
  t.end();
});

t.test('rate limit: a burst, then the rate, per name', (t) => {
  const limit = new RateLimit({ burst: 3, perSecond: 0.5, names: 10 });
  const take = (name: string, now: number) => limit.take(name, now);
  t.strictSame([take('a', 0), take('a', 0), take('a', 0), take('a', 0)], [true, true, true, false]);
  t.ok(take('b', 0));
  t.notOk(take('a', 1));
  t.ok(take('a', 2));
  t.notOk(take('a', 2));
  t.end();
});

t.test('networks: neighbouring blocks become one, others stay', (t) => {
  const nodes = Array.from({ length: 256 }, (_, at) => `10.244.${at}.0/24`);
  t.strictSame(mergeBlocks(nodes), ['10.244.0.0/16']);
  t.strictSame(mergeBlocks(['10.0.1.0/24', '10.0.2.0/24', 'rubbish']), ['10.0.1.0/24', '10.0.2.0/24']);
  t.strictSame(mergeBlocks(['10.0.0.0/8', '10.0.1.0/24', 'fd00::/64', 'fd00:0:0:1::/64']), [
    '10.0.0.0/8',
    'fd00::/63',
  ]);
  t.strictSame(mergeBlocks(['0.0.0.0/0']), ['0.0.0.0/0']);
  t.end();
});
