import { accessObjects } from '../../src/install/rbac.ts';
import { AUTHORITY } from '../../src/install/options.ts';
import type { ApiClient, ApiServer } from '../../src/kube/api-client.ts';
import type { FakeApiServer } from '../../test/support/fake-api-server.ts';
import type { KubeControlPlane } from '../../test/support/kube-control-plane.ts';
import { requestKind } from './requests.ts';
import { AUDIENCE, CA_CONFIG_MAP, SYSTEM } from './population.ts';

/** An API server to measure on. */
export interface ScalePlace {
  /** With every right. */
  readonly admin: ApiClient;
  /** As the authority's process reaches it. */
  readonly server: Omit<ApiServer, 'credential'>;
  /** What the authority asked for so far, as {@link requestKind} writes it; a watch counts once. */
  readonly requests: () => string[];
  /** The fake one has no roles that could be given, and takes the status of a pod with the pod. */
  readonly real: boolean;
}

const USER = `system:serviceaccount:${SYSTEM}:${AUTHORITY}`;

/** A real one; the requests are those of its audit log. */
export function realPlace(plane: KubeControlPlane): ScalePlace {
  return {
    admin: plane.client(),
    server: { url: plane.url, caFile: plane.caFile, serverName: 'kubernetes.default.svc' },
    real: true,
    requests: () => {
      const seen = new Set<string>();
      return plane.audit().flatMap(({ auditID, user, verb, requestURI }) => {
        if (user.username !== USER || seen.has(auditID)) return [];
        seen.add(auditID);
        return [requestKind(verb, requestURI)];
      });
    },
  };
}

/** The one of the tests, which notes who asks for what. */
export function fakePlace(api: FakeApiServer): ScalePlace {
  const asked: string[] = [];
  api.allows = (user, verb, collection) => {
    if (user.username === USER) asked.push(`${verb} ${collection.split(' ').at(-1)}`);
    return true;
  };
  return { admin: api.client(), server: { url: api.url }, real: false, requests: () => [...asked] };
}

/** The authority's account with the rights that an installation gives it, and a token of it. */
export async function authorityToken({ admin, real }: ScalePlace): Promise<string> {
  for (const object of accessObjects(SYSTEM, CA_CONFIG_MAP)) {
    const wanted = real || object.kind === 'ServiceAccount';
    if (wanted && object.metadata.name === AUTHORITY) await createObject(admin, object);
  }
  return tokenOf(admin, SYSTEM, AUTHORITY, { expirationSeconds: 7_200 });
}

/** A token of a pod for the authority, as kubelet projects it. */
export function podToken(admin: ApiClient, namespace: string, pod: string): Promise<string> {
  return tokenOf(admin, namespace, 'default', {
    audiences: [AUDIENCE],
    expirationSeconds: 7_200,
    boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod },
  });
}

async function tokenOf(admin: ApiClient, namespace: string, account: string, spec: object): Promise<string> {
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec };
  const { status } = (await admin.create(path, body)) as { status: { token: string } };
  return status.token;
}

const PLURALS: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networkpolicies',
};

/** Where an object of the benchmark stands. */
export function pathOf(object: object): { readonly list: string; readonly one: string } {
  const { apiVersion, kind, metadata } = object as {
    apiVersion: string;
    kind: string;
    metadata: { namespace?: string; name: string };
  };
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const inside = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
  const list = `${root}${inside}/${PLURALS[kind] ?? `${kind.toLowerCase()}s`}`;
  return { list, one: `${list}/${metadata.name}` };
}

export async function createObject(admin: ApiClient, object: object): Promise<unknown> {
  return admin.create(pathOf(object).list, object);
}
