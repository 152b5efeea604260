import t from 'tap';
import { injectPod } from '../../src/inject/inject-pod.ts';
import type { Container, Pod } from '../../src/inject/pod.ts';
import { verifyPod } from '../../src/inject/verify-pod.ts';
import { namespace, pod, SETTINGS } from './samples.ts';

const injected = (): Pod => {
  const result = injectPod(
    pod({ initContainers: [{ name: 'migrate', image: 'x' }] }),
    namespace(),
    SETTINGS,
    '1.0.0',
  );
  if (result.outcome !== 'injected') throw new Error('not injected');
  return structuredClone(result.pod);
};
const verify = (given: Pod): string => verifyPod(given, namespace(), SETTINGS, '1.0.0').join('\n');
const changed = (
  change: (init: Container, proxy: Container, spec: NonNullable<Pod['spec']>) => void,
): string => {
  const given = injected();
  change(given.spec!.initContainers![0]!, given.spec!.initContainers![1]!, given.spec!);
  return verify(given);
};

t.test(
  'verification: what was injected passes, with what the API server and others add to every container',
  (t) => {
    t.equal(verify(injected()), '');
    t.equal(
      changed((init, proxy) => {
        for (const one of [init, proxy]) {
          one.terminationMessagePath = '/dev/termination-log';
          one.imagePullPolicy = 'IfNotPresent';
          one.resources = { requests: { cpu: '1' } };
          one.volumeMounts!.push({
            name: 'kube-api-access-x',
            mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
          });
          (one.env ??= []).push({ name: 'HTTP_PROXY', value: 'http://x' });
        }
        proxy.startupProbe!.successThreshold = 1;
      }),
      '',
    );
    t.equal(
      verifyPod({ metadata: {}, spec: { containers: [] } }, namespace(), SETTINGS, '1.0.0').length,
      0,
      'no sidecar is asked for',
    );
    t.end();
  },
);

t.test(
  'verification: a webhook behind ours cannot change, steer, drop or overtake the sidecar, nor add a way round it',
  (t) => {
    const rows: [what: string, change: Parameters<typeof changed>[0], problem: RegExp][] = [
      ['an argument', (_, proxy) => void proxy.args!.push('--enforcement=audit'), /countersign-proxy: args/],
      ['the image', (init) => void (init.image = 'evil'), /countersign-redirect: image/],
      ['the user', (_, proxy) => void (proxy.securityContext!.runAsUser = 0), /securityContext/],
      [
        'a capability',
        (_, proxy) => void (proxy.securityContext!.capabilities!.add = ['NET_ADMIN']),
        /capabilities/,
      ],
      [
        'an option of Node.js',
        (_, proxy) => void proxy.env!.push({ name: 'NODE_OPTIONS', value: '--inspect' }),
        /env NODE_OPTIONS/,
      ],
      [
        'a setting of ours',
        (_, proxy) => void proxy.env!.push({ name: 'COUNTERSIGN_ENFORCEMENT', value: 'audit' }),
        /env COUNTERSIGN_/,
      ],
      [
        'settings from elsewhere',
        (_, proxy) => void (proxy.envFrom = [{ configMapRef: { name: 'x' } }]),
        /env from elsewhere/,
      ],
      [
        'the sidecar gone',
        (_, __, spec) => void spec.initContainers!.splice(1, 1),
        /countersign-proxy is missing/,
      ],
      ['two of them', (_, proxy, spec) => void spec.containers.push({ ...proxy }), /countersign-proxy: name/],
      [
        'a hook in it',
        (_, proxy) => void (proxy.lifecycle = { postStart: { exec: { command: ['sh'] } } }),
        /countersign-proxy: lifecycle/,
      ],
      [
        'other certificates of the authority',
        (_, __, spec) => void (spec.volumes!.find(({ configMap }) => configMap)!.configMap!.name = 'mine'),
        /volume countersign-ca is not as injected/,
      ],
      [
        'a token for somebody else',
        (_, __, spec) =>
          void (spec.volumes!.find(
            ({ projected }) => projected,
          )!.projected!.sources![0]!.serviceAccountToken!.audience = 'vault'),
        /volume countersign-token is not as injected/,
      ],
      [
        'keys on a disk',
        (_, __, spec) => void (spec.volumes!.find(({ emptyDir }) => emptyDir)!.emptyDir = {}),
        /volume countersign-run is not as injected/,
      ],
      [
        'one before us',
        (_, __, spec) => void spec.initContainers!.unshift({ name: 'early', image: 'x' }),
        /early would run before/,
      ],
      [
        'a way round',
        (_, __, spec) => void spec.containers.push({ name: 'x', securityContext: { privileged: true } }),
        /privileged/,
      ],
      [
        'our user',
        (_, __, spec) => void (spec.containers[0]!.securityContext = { runAsUser: 14014 }),
        /runAsUser: 14014/,
      ],
    ];
    for (const [what, change, problem] of rows) t.match(changed(change), problem, what);
    t.match(verify(pod()), /countersign-proxy is missing/, 'a pod that asks and was never injected');
    t.end();
  },
);

t.test('verification: a pod that asks for no sidecar brings none, so that no later label enrols it', (t) => {
  const { spec } = injected();
  for (const labels of [{}, { 'countersign.io/inject': 'false' }]) {
    const forged = { metadata: { name: 'web-0', labels }, spec: spec! };
    t.match(verify(forged), /initContainers\[0\]\.name: countersign-redirect is the injector's to add/);
    t.match(verify(forged), /initContainers\[1\]\.name: countersign-proxy is the injector's to add/);
    const beside = {
      ...forged,
      spec: { containers: [{ name: 'web' }, { name: 'countersign-proxy', image: 'x' }] },
    };
    t.match(verify(beside), /containers\[1\]\.name: countersign-proxy/);
    t.equal(verify({ ...forged, spec: { containers: [{ name: 'web' }] } }), '');
  }
  t.end();
});
