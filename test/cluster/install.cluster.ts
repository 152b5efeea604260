import t from 'tap';
import { TEST_IMAGE } from '../support/kube-cluster.ts';
import {
  countersign,
  IDLE,
  INSTALL_FLAGS,
  InstalledCluster,
  list,
  namespace,
  pod,
  workload,
} from '../support/installed-cluster.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const OPT_IN = { 'countersign.io/inject': 'true' };

t.test('an installation, from its manifests to nothing left', { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.bare(t);
  const { cluster } = installed;
  const manifest = await countersign(['install', ...INSTALL_FLAGS]);
  const rights = (): Promise<string> =>
    cluster.kubectl([
      'auth',
      'can-i',
      '--list',
      '-n',
      'default',
      '--as=system:serviceaccount:default:default',
    ]);
  const rightsBefore = await rights();
  await installed.install();

  t.test('is applied again without a change, and kubectl diff is empty', async (t) => {
    const generations = (): Promise<string> =>
      cluster.kubectl(
        [
          'get',
          '-f',
          '-',
          '-o',
          'jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.generation}{"\\n"}{end}',
        ],
        manifest,
      );
    const before = await generations();
    const again = await cluster.apply(manifest);
    t.equal(await generations(), before);
    // kubectl says of every PodDisruptionBudget that it was configured: the kind's selector is patched as a whole.
    const changed = again.split('\n').filter((line) => !/ unchanged$|^poddisruptionbudget|^$/.test(line));
    t.strictSame(changed, []);
    t.equal(
      await cluster.kubectl(['diff', '-f', '-'], manifest),
      '',
      'kubectl diff ends with 0 and says nothing',
    );
    t.notMatch(manifest, /kind: Secret/);
  });

  t.test('injects by the label of the namespace and by that of the pod, and nobody else', async (t) => {
    await cluster.apply(
      list(
        namespace('in', OPT_IN),
        namespace('out', {}),
        pod('in', 'by-namespace', IDLE),
        pod('in', 'not-me', IDLE, { labels: { 'countersign.io/inject': 'false' } }),
        pod('out', 'by-pod', IDLE, { labels: OPT_IN }),
        pod('out', 'nobody-asked', IDLE),
      ),
    );
    await installed.ready('in');
    await installed.ready('out');
    const sidecars = await installed.json<{
      items: { metadata: { name: string }; spec: { initContainers?: { name: string }[] } }[];
    }>(['get', 'pods', '-A', '-l', 'countersign.io/inject']);
    const carrying = sidecars.items
      .filter(({ spec }) => spec.initContainers?.some(({ name }) => name === 'countersign-proxy'))
      .map(({ metadata }) => metadata.name);
    t.strictSame(carrying.toSorted(), ['by-namespace', 'by-pod']);
    // It comes back while other things are tried.
    await cluster.kubectl(['-n', 'in', 'delete', 'configmap', 'countersign-ca']);
  });

  t.test('gives the application no right that it did not have', async (t) => {
    t.equal(await rights(), rightsBefore);
    const inside = 'ls /var/run/secrets /var/run/countersign /var/run/secrets/tokens 2>&1; id -u';
    const seen = await cluster.exec('in', 'by-namespace', ['sh', '-c', inside], 'app');
    t.notMatch(seen, /countersign-(authority|proxy)/, 'and neither token nor keys of the sidecar');
  });

  t.test('refuses every way round the sidecar, with field and remedy', async (t) => {
    const refused: Record<string, [object, RegExp]> = {
      'the proxy user': [
        pod('in', 'x', IDLE, { container: { securityContext: { runAsUser: 14_014 } } }),
        /containers\[0\]\.securityContext\.runAsUser: 14014 is the proxy's user.*run as another user/,
      ],
      NET_ADMIN: [
        pod('in', 'x', IDLE, { container: { securityContext: { capabilities: { add: ['NET_ADMIN'] } } } }),
        /capabilities\.add: NET_ADMIN .*remove it, or have the owner of the namespace grant/,
      ],
      'a privileged container': [
        pod('in', 'x', IDLE, { container: { securityContext: { privileged: true } } }),
        /securityContext\.privileged: true .*remove it/,
      ],
      'a shared process namespace': [
        pod('in', 'x', IDLE, { spec: { shareProcessNamespace: true } }),
        /spec\.shareProcessNamespace: true .*remove it/,
      ],
      'the network of the node': [
        pod('out', 'x', IDLE, { labels: OPT_IN, spec: { hostNetwork: true } }),
        /hostNetwork/,
      ],
      'a reserved label': [
        pod('in', 'x', IDLE, { labels: { 'identity.countersign.io/image': 'good' } }),
        /metadata\.labels\[identity\.countersign\.io\/image\].*remove it/,
      ],
      "a container with the sidecar's name": [
        pod('in', 'x', IDLE, { container: { name: 'countersign-proxy' } }),
        /countersign-proxy is a name of the sidecar's own; give the container another name/,
      ],
      "a token for the sidecar's audience": [
        pod('in', 'x', IDLE, {
          spec: {
            volumes: [
              {
                name: 'mine',
                projected: {
                  sources: [{ serviceAccountToken: { audience: 'countersign-authority', path: 't' } }],
                },
              },
            ],
          },
        }),
        /a token for countersign-authority would let another container take the pod's identity; remove it/,
      ],
      'an exclusion that nobody granted': [
        pod('in', 'x', IDLE, { annotations: { 'countersign.io/exclude-inbound-ports': '8080' } }),
        /exclude-inbound-ports: only where the namespace grants it/,
      ],
      'a sidecar of its own in a pod that asks for none, whatever its label says later': [
        pod('out', 'x', IDLE, { container: { name: 'countersign-proxy' } }),
        /countersign-proxy is the injector's to add/,
      ],
      "kubelet's folder": [
        pod('in', 'x', IDLE, { spec: { volumes: [{ name: 'k', hostPath: { path: '/var/lib/kubelet' } }] } }),
        /hostPath\.path: .var.lib.kubelet holds the files of other pods/,
      ],
      'a word that is neither true nor false': [
        pod('out', 'x', IDLE, { labels: { 'countersign.io/inject': 'yes' } }),
        /countersign\.io\/inject/,
      ],
    };
    for (const [what, [manifest, sentence]] of Object.entries(refused)) {
      t.match(await installed.complaint(['create', '-f', '-'], JSON.stringify(manifest)), sentence, what);
    }
    t.notMatch(await cluster.kubectl(['get', 'pods', '-A']), / x /);
  });

  t.test(
    'tells the owner of a Pod Security namespace what to do, and of a Deployment by an Event',
    async (t) => {
      await cluster.apply(
        list(
          namespace('strict', { ...OPT_IN, 'pod-security.kubernetes.io/enforce': 'restricted' }),
          workload('Deployment', 'strict', 'web', 1),
        ),
      );
      const sentence = /restricted forbids the NET_ADMIN .*kubectl label namespace strict --overwrite/;
      t.match(
        await installed.complaint(['create', '-f', '-'], JSON.stringify(pod('strict', 'one', IDLE))),
        sentence,
      );
      const events = ['-n', 'strict', 'get', 'events', '-o', 'jsonpath={.items[*].message}'];
      await until('an Event says it', async () => sentence.test(await cluster.kubectl(events)), 120_000);
    },
  );

  t.test(
    'looks at debug containers: a harmless one joins, one that could take the redirection away does not',
    async (t) => {
      const debug = (...more: string[]): Promise<string | undefined> =>
        installed.complaint([
          ...[
            '-n',
            'in',
            'debug',
            'by-namespace',
            `--image=${TEST_IMAGE}`,
            '--image-pull-policy=Never',
            '--attach=false',
          ],
          ...more,
          ...['--', 'sleep', '1000'],
        ]);
      t.match(await debug('--profile=netadmin'), /NET_ADMIN can take the redirection away/);
      t.match(await debug('--profile=sysadmin'), /privileged: true can take the redirection away/);
      t.match(await debug('--profile=general'), /SYS_PTRACE can take .*kubectl debug --profile=baseline/);
      t.equal(await debug('--profile=baseline', '--container=harmless'), undefined);
      const state = '{.status.ephemeralContainerStatuses[?(@.name=="harmless")].state.running.startedAt}';
      await until(
        'the debug container runs',
        async () =>
          (await cluster.kubectl(['-n', 'in', 'get', 'pod', 'by-namespace', '-o', `jsonpath=${state}`])) !==
          '',
        120_000,
      );
    },
  );

  t.test(
    'keeps the image of the sidecar in a pod that lives, and leaves the rest to its owner',
    async (t) => {
      const set = (...images: string[]): Promise<string | undefined> =>
        installed.complaint(['-n', 'in', 'set', 'image', 'pod/by-namespace', ...images]);
      for (const name of ['countersign-proxy', 'countersign-redirect'])
        t.match(await set(`${name}=${TEST_IMAGE}`), new RegExp(`${name} runs the installation's image`));
      const label = (value: string): Promise<string> =>
        cluster.kubectl([
          '-n',
          'in',
          'label',
          '--overwrite',
          'pod',
          'by-namespace',
          `countersign.io/inject=${value}`,
        ]);
      await label('false');
      t.match(
        await set(`countersign-proxy=${TEST_IMAGE}`),
        /installation's image/,
        'whatever its label says now',
      );
      await cluster.tagImage(TEST_IMAGE, 'countersign.test/app:2');
      t.equal(await set('app=countersign.test/app:2'), undefined);
      await label('true');
    },
  );

  t.test('without webhooks pods that were injected beforehand start, and copies come back', async (t) => {
    const copy = ['-n', 'in', 'get', 'configmap', 'countersign-ca', '--ignore-not-found', '-o', 'name'];
    await until(
      'the copy that was deleted is there again',
      async () => (await cluster.kubectl(copy)) !== '',
      170_000,
    );
    // Whoever has to make pods with the injector away does this (docs/limits.md, break-glass).
    const webhooks = 'mutatingwebhookconfiguration,validatingwebhookconfiguration';
    await cluster.kubectl(['delete', webhooks, 'countersign']);
    const folder = t.testdir({
      'pod.json': JSON.stringify(pod('in', 'beforehand', IDLE, { labels: OPT_IN })),
    });
    await cluster.apply(await countersign(['inject', '-f', `${folder}/pod.json`, ...INSTALL_FLAGS]));
    await installed.ready('in', 'beforehand');
    const containers = ['get', 'pod', 'beforehand', '-o', 'jsonpath={.spec.initContainers[*].name}'];
    t.equal(
      await cluster.kubectl(['-n', 'in', ...containers]),
      'countersign-redirect countersign-proxy',
      'it is ready, and so is its sidecar',
    );
  });

  t.test('uninstall leaves nothing, and pods that live go on', async (t) => {
    const uninstall = await countersign(['uninstall', ...INSTALL_FLAGS]);
    await cluster.kubectl(['delete', '--ignore-not-found', '--timeout=170s', '-f', '-'], uninstall);
    const kinds =
      'namespaces,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations';
    t.notMatch(await cluster.kubectl(['get', kinds, '-o', 'name']), /countersign/);
    await until(
      'the copies of the certificates are gone',
      async () => !/countersign-ca/.test(await cluster.kubectl(['get', 'configmaps', '-A', '-o', 'name'])),
      170_000,
    );
    await cluster.apply(pod('in', 'after', IDLE));
    await installed.ready('in');
    t.notMatch(await cluster.kubectl(['-n', 'in', 'get', 'pod', 'after', '-o', 'yaml']), /countersign-proxy/);
  });
});
