import t from 'tap';
import { injectPod } from '../../src/inject/inject-pod.ts';
import type { Container, Pod } from '../../src/inject/pod.ts';
import { EventLimit, eventOf } from '../../src/injector/events.ts';
import {
  type AdmissionRequest,
  answerReview,
  answerVerification,
  decodeReview,
  type Review,
} from '../../src/injector/review.ts';
import { namespace, pod, SETTINGS } from '../inject/samples.ts';

const body = (object: unknown, more: object = {}): object => ({
  apiVersion: 'admission.k8s.io/v1',
  kind: 'AdmissionReview',
  request: {
    uid: 'u-1',
    resource: { group: '', version: 'v1', resource: 'pods' },
    namespace: 'shop',
    operation: 'CREATE',
    object,
    ...more,
  },
});
const request = (object: unknown, more: object = {}): AdmissionRequest => {
  const decoded = decodeReview(body(object, more));
  if (typeof decoded === 'string') throw new Error(decoded);
  return decoded;
};
const answer = (object: unknown, more: object = {}, annotations: Record<string, string> = {}): Review =>
  answerReview(request(object, more), namespace({ annotations }), SETTINGS, '1.0.0');

/** RFC 6902, as far as these patches use it. */
function apply(given: Pod, review: Review): Pod {
  const { patch } = (review.answer as { response: { patch: string } }).response;
  const operations = JSON.parse(Buffer.from(patch, 'base64').toString()) as {
    op: string;
    path: string;
    value: unknown;
  }[];
  const copy = structuredClone(given) as unknown as Record<string, unknown>;
  for (const { op, path, value } of operations) {
    const keys = path.slice(1).split('/');
    const last = keys.pop()!;
    const place = keys.reduce((at, key) => at[key] as Record<string, unknown>, copy);
    if (op === 'remove') delete place[last];
    else place[last] = value;
  }
  return copy as unknown as Pod;
}

t.test('review: the patch turns the pod into exactly what injection makes of it', (t) => {
  for (const given of [
    pod(),
    pod({}, { annotations: { a: 'b' } }),
    pod({ initContainers: [{ name: 'i', image: 'x' }] }),
  ]) {
    const review = answer(given);
    t.equal(review.outcome, 'injected');
    const expected = injectPod(given, namespace(), SETTINGS, '1.0.0');
    t.strictSame({ outcome: 'injected', pod: apply(given, review) }, expected);
    t.match(review.answer, { response: { uid: 'u-1', allowed: true, patchType: 'JSONPatch' } });
  }
  t.end();
});

t.test('review: a refusal names every problem; a pod that asks for nothing passes untouched', (t) => {
  const review = answer(pod({ hostPID: true, securityContext: { runAsUser: 14014 } }));
  t.match(review.answer, {
    response: { allowed: false, status: { code: 403, message: /hostPID.*runAsUser/ } },
  });
  const skipped = answer({ metadata: {}, spec: { containers: [] } });
  t.equal(skipped.outcome, 'skipped');
  t.strictSame(skipped.answer, {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: { uid: 'u-1', allowed: true },
  });
  const many = answer(pod({}, { annotations: { 'countersign.io/mode': 'x'.repeat(100_000) } }));
  t.ok(JSON.stringify(many.answer).length < 6_000, 'a text that the author chose does not grow the answer');
  t.end();
});

t.test('review: who makes a pod is told when it goes without unawares, or hangs on its own DNS', (t) => {
  const warnings = (spec: object, metadata: object = {}): unknown => {
    const asking = { ...namespace(), labels: { 'countersign.io/inject': 'true' } };
    const made = { metadata, spec: { containers: [{ name: 'web', image: 'x' }], ...spec } };
    const review = answerReview(request(made), asking, SETTINGS, '1.0.0');
    return (review.answer as { response: { warnings?: string[] } }).response.warnings;
  };
  t.equal(warnings({}), undefined);
  t.equal(warnings({ dnsPolicy: 'ClusterFirst' }), undefined);
  t.match(warnings({ hostNetwork: true }), [/^countersign: no sidecar: spec\.hostNetwork: true/]);
  t.match(warnings({ nodeSelector: { 'kubernetes.io/os': 'windows' } }), [/no sidecar.*windows/]);
  const refusing = { labels: { 'countersign.io/inject': 'false' } };
  t.equal(warnings({}, refusing), undefined, 'who says no knows it');
  for (const dnsPolicy of ['Default', 'None']) {
    const told = warnings({ dnsPolicy }) as string[];
    t.match(told, [/^countersign: spec\.dnsPolicy: .*docs\/injection\.md/]);
    t.ok(told[0]!.length <= 256, 'the API server cuts longer ones');
  }
  t.end();
});

t.test('review: an ephemeral container joins an injected pod only as an ordinary container could', (t) => {
  const injected = injectPod(pod(), namespace(), SETTINGS, '1.0.0');
  if (injected.outcome !== 'injected') throw new Error('not injected');
  const ask = (container: object, annotations = {}) => {
    const debugged = {
      ...injected.pod,
      spec: { ...injected.pod.spec, ephemeralContainers: [{ name: 'debug', image: 'x', ...container }] },
    };
    return answer(
      debugged,
      { operation: 'UPDATE', subResource: 'ephemeralcontainers', oldObject: injected.pod },
      annotations,
    );
  };
  const rows: [object, RegExp][] = [
    [
      { securityContext: { capabilities: { add: ['SYS_PTRACE'] } } },
      /SYS_PTRACE.*kubectl debug --profile=baseline/,
    ],
    [{ securityContext: { runAsUser: 14014 } }, /ephemeralContainers\[0\]\.securityContext\.runAsUser/],
    [{ securityContext: { capabilities: { add: ['NET_ADMIN'] } } }, /NET_ADMIN/],
    [{ securityContext: { privileged: true } }, /privileged/],
    [
      { targetContainerName: 'countersign-proxy' },
      /targetContainerName: countersign-proxy holds the pod's key/,
    ],
    [{ volumeMounts: [{ name: 'countersign-run', mountPath: '/x' }] }, /volumeMounts\[0\]/],
  ];
  for (const [container, problem] of rows)
    t.match(ask(container).answer, { response: { allowed: false, status: { message: problem } } });
  t.match(ask({}).answer, { response: { allowed: true } });
  t.match(ask({ targetContainerName: 'web' }).answer, { response: { allowed: true } });
  const granted = ask({ securityContext: { privileged: true } }, { 'countersign.io/grants': 'privileged' });
  t.match(granted.answer, { response: { allowed: true } });
  const plain = {
    metadata: {},
    spec: { containers: [], ephemeralContainers: [{ name: 'd', securityContext: { privileged: true } }] },
  };
  const other = answer(plain, { operation: 'UPDATE', subResource: 'ephemeralcontainers' });
  t.match(other.answer, { response: { allowed: true } }, 'a pod without a sidecar is not our business');
  t.end();
});

t.test(
  'review: in a pod that lives sidecar and init step get no other image than the installation has',
  (t) => {
    for (const classic of [false, true]) {
      const settings = { ...SETTINGS, classic };
      const injected = injectPod(pod(), namespace(), settings, '1.0.0');
      if (injected.outcome !== 'injected') throw new Error('not injected');
      const before = structuredClone(injected.pod);
      const all = ({ spec }: Pod): Container[] => [
        ...(spec?.initContainers ?? []),
        ...(spec?.containers ?? []),
      ];
      const change = (name: string, image: string, from = before): Review => {
        const after = structuredClone(from);
        all(after).find((one) => one.name === name)!.image = image;
        const asked = request(after, { operation: 'UPDATE', oldObject: from });
        return answerVerification(asked, namespace(), settings, '1.0.0');
      };
      for (const name of ['countersign-proxy', 'countersign-redirect']) {
        t.match(change(name, 'evil:1').answer, {
          response: {
            allowed: false,
            status: { message: new RegExp(`\\.image: ${name} runs the installation`) },
          },
        });
        const old = structuredClone(before);
        all(old).find((one) => one.name === name)!.image = 'older:1';
        t.match(
          change(name, SETTINGS.image, old).answer,
          { response: { allowed: true } },
          'in place to ours',
        );
        t.match(
          change('web', 'web:2', old).answer,
          { response: { allowed: true } },
          'and an older one may stay',
        );
      }
      t.match(
        change('web', 'web:2').answer,
        { response: { allowed: true } },
        "the application's is its own matter",
      );
    }
    t.end();
  },
);

t.test('review: what is no review of a pod is told so, and nothing throws', (t) => {
  const rows: unknown[] = [
    null,
    [],
    'x',
    {},
    { kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1beta1' },
    body(undefined),
    body({}),
    body({ spec: {} }),
    body({ spec: { containers: 7 } }),
    body(pod(), { uid: 7 }),
    body(pod(), { uid: 'x'.repeat(200) }),
    body(pod(), { namespace: undefined }),
    body(pod(), { resource: { group: 'apps', resource: 'deployments' } }),
    body({ kind: 'Service', spec: { containers: [] } }),
  ];
  for (const row of rows) t.type(decodeReview(row), 'string', JSON.stringify(row));
  t.end();
});

t.test('review: owners are told by Events, few of them, and none for a dry run', (t) => {
  const owned = pod(
    {},
    {
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-1', uid: 'o', controller: true },
      ],
    },
  );
  const asked = request(owned);
  const review = answer(owned);
  t.match(eventOf(asked, review, 0), {
    involvedObject: { kind: 'ReplicaSet', name: 'web-1', namespace: 'shop', uid: 'o' },
    type: 'Normal',
    reason: 'Injected',
    firstTimestamp: '1970-01-01T00:00:00Z',
  });
  const bad = pod({ hostPID: true }, { ...owned.metadata });
  t.match(eventOf(request(bad), answer(bad), 0), {
    type: 'Warning',
    reason: 'InjectionRefused',
    message: /hostPID/,
  });
  t.equal(eventOf(request(owned, { dryRun: true }), review, 0), undefined);
  t.equal(eventOf(request(pod()), answer(pod()), 0), undefined, 'nobody to tell');
  const limit = new EventLimit();
  t.equal(limit.allows(asked, review, 0), true);
  t.equal(limit.allows(asked, review, 59_999), false);
  t.equal(limit.allows(asked, review, 60_000), true);
  t.end();
});
