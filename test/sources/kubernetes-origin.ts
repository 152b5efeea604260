import { KubernetesSource, type KubernetesSourceOptions } from '../../src/sources/kubernetes-source.ts';
import { fixedToken } from '../../src/kube/credential.ts';
import { FakeApiServer, type FakeOptions } from '../support/fake-api-server.ts';
import type { FakeObject } from '../support/fake-store.ts';
import { ADMIN_TOKEN } from '../support/fake-tokens.ts';
import { until } from '../support/until.ts';
import type { SourceContents, SourceOrigin } from '../support/source-compliance.ts';

const TIMING = { backoff: { firstMs: 20, mostMs: 200 } };

export const NAMESPACE: FakeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };

export function podObject(name: string, labels: Readonly<Record<string, string>>): FakeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels: { ...labels } },
    spec: { containers: [{ name: 'app', image: 'none' }] },
    status: { phase: 'Running', podIPs: [{ ip: `10.0.0.${name.length}` }] },
  };
}

export function policyObject(name: string, spec: object = { podSelector: {} }): FakeObject {
  const apiVersion = 'networking.k8s.io/v1';
  return { apiVersion, kind: 'NetworkPolicy', metadata: { name, namespace: 'shop' }, spec };
}

/** A source on a fake API server, for the pod `shop/web`. */
export function sourceOn(
  server: FakeApiServer,
  options: Partial<KubernetesSourceOptions> = {},
): KubernetesSource {
  return new KubernetesSource({
    server: { url: server.url, credential: fixedToken(ADMIN_TOKEN) },
    pod: 'shop/web',
    mode: 'enforce',
    timing: TIMING,
    ...options,
  });
}

/** Brings the server to hold this of `shop`. */
export function writeContents(server: FakeApiServer, { labels, policies }: SourceContents): void {
  const { store } = server;
  if (store.list('v1 namespaces').length === 0) server.put(NAMESPACE);
  const there = store.list('v1 pods').find(({ metadata }) => metadata.name === 'web');
  if (JSON.stringify(there?.metadata.labels) !== JSON.stringify(labels)) server.put(podObject('web', labels));
  const known = store.list('networking.k8s.io/v1 networkpolicies');
  for (const policy of known) if (!policies.includes(policy.metadata.name)) server.remove(policy);
  for (const name of policies) {
    if (!known.some(({ metadata }) => metadata.name === name)) server.put(policyObject(name));
  }
}

/** The origin for the compliance suite. Spoilt, the server answers nothing but 500. */
export async function makeKubernetesOrigin(options: FakeOptions = {}): Promise<SourceOrigin> {
  const server = await new FakeApiServer(options).start();
  let heal = (): void => {};
  return {
    open: () => sourceOn(server),
    write: async (contents) => {
      heal();
      writeContents(server, contents);
    },
    spoil: async () => {
      heal = server.faults.add({ kind: 'status', status: 500 }, () => true, Infinity);
      for (const watch of server.watches) watch.reset();
    },
    remove: async () => {
      // The listener outlives its own end by a few turns, and the next test counts what is there.
      const listeners = (): number =>
        process.getActiveResourcesInfo().filter((one) => one === 'TCPServerWrap').length;
      const before = listeners();
      await server.close();
      await until('the listener is gone', () => listeners() < before);
    },
  };
}
