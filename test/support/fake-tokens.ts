import { randomBytes, randomUUID } from 'node:crypto';
import { FakeStatus, type FakeStore } from './fake-store.ts';

interface FakeToken {
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly audiences: readonly string[];
  readonly pod: { readonly name: string; readonly namespace: string; readonly uid: string } | undefined;
  readonly expiresAt: number;
}

/** Who sent a request. */
export interface FakeUser {
  readonly username: string;
  readonly groups: readonly string[];
}

export const API_AUDIENCE = 'https://kubernetes.default.svc';
export const ADMIN_TOKEN = 'admin';

/** TokenRequest and TokenReview, with tokens that are bound to a pod. */
export class FakeTokens {
  readonly #store: FakeStore;
  readonly #tokens = new Map<string, FakeToken>();
  /** Whether a review tells the node and the credential (KEP-4193, on by default since 1.30). */
  readonly #tellsNode: boolean;

  constructor(store: FakeStore, tellsNode: boolean) {
    this.#store = store;
    this.#tellsNode = tellsNode;
  }

  /** `POST serviceaccounts/{name}/token`. */
  request(namespace: string, name: string, body: Record<string, unknown>): object {
    const account = this.#store.get('v1 serviceaccounts', `${namespace}/${name}`);
    const spec = (body['spec'] ?? {}) as {
      audiences?: string[] | null;
      expirationSeconds?: number;
      boundObjectRef?: { kind?: string; name?: string; uid?: string } | null;
    };
    const { audiences, expirationSeconds = 3600, boundObjectRef: bound } = spec;
    if (expirationSeconds < 600) {
      throw new FakeStatus(
        422,
        'Invalid',
        'spec.expirationSeconds: may not specify a duration less than 10 minutes',
      );
    }
    let pod: FakeToken['pod'];
    if (bound !== undefined && bound !== null) {
      const found = this.#store.get('v1 pods', `${namespace}/${bound.name ?? ''}`);
      if (bound.uid !== undefined && bound.uid !== '' && bound.uid !== found.metadata.uid) {
        throw new FakeStatus(
          409,
          'Conflict',
          'the UID in the bound object reference does not match the UID in record',
        );
      }
      const account =
        (found['spec'] as { serviceAccountName?: string } | undefined)?.serviceAccountName ?? 'default';
      if (account !== name)
        throw new FakeStatus(
          400,
          'BadRequest',
          'cannot bind token for serviceaccount: pod running with different serviceaccount name',
        );
      pod = { name: found.metadata.name, namespace, uid: found.metadata.uid! };
    }
    const expiresAt = Date.now() + expirationSeconds * 1000;
    const claims = { exp: Math.floor(expiresAt / 1000), jti: randomBytes(24).toString('base64url') };
    const token = `fake.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.token`;
    this.#tokens.set(token, {
      username: `system:serviceaccount:${namespace}:${name}`,
      uid: account.metadata.uid!,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
      audiences:
        audiences === undefined || audiences === null || audiences.length === 0 ? [API_AUDIENCE] : audiences,
      pod,
      expiresAt,
    });
    const status = { token, expirationTimestamp: new Date(expiresAt).toISOString() };
    return {
      kind: 'TokenRequest',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: { name, namespace },
      spec,
      status,
    };
  }

  /** `POST tokenreviews`. */
  review(body: Record<string, unknown>): object {
    const { token = '', audiences } = (body['spec'] ?? {}) as { token?: string; audiences?: string[] };
    const wanted = audiences === undefined || audiences.length === 0 ? [API_AUDIENCE] : audiences;
    return {
      kind: 'TokenReview',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: {},
      spec: body['spec'],
      status: this.#status(token, wanted),
    };
  }

  /** Who a request is from. Throws 401. */
  user(authorization: string | undefined): FakeUser {
    const token = /^Bearer (.+)$/.exec(authorization ?? '')?.[1] ?? '';
    if (token === ADMIN_TOKEN)
      return { username: 'admin', groups: ['system:masters', 'system:authenticated'] };
    const known = this.#alive(token);
    if (typeof known === 'string' || !known.audiences.includes(API_AUDIENCE)) {
      throw new FakeStatus(401, 'Unauthorized', 'Unauthorized');
    }
    return known;
  }

  #status(token: string, wanted: readonly string[]): object {
    const known = this.#alive(token);
    if (typeof known === 'string') return { authenticated: false, user: {}, error: known };
    const common = known.audiences.filter((one) => wanted.includes(one));
    if (common.length === 0) {
      const error = `[invalid bearer token, token audiences ${JSON.stringify(known.audiences)} is invalid for the target audiences ${JSON.stringify(wanted)}]`;
      return { authenticated: false, user: {}, error };
    }
    const { username, uid, groups, pod } = known;
    const prefix = 'authentication.kubernetes.io';
    const node = pod === undefined ? undefined : this.#nodeOf(pod);
    const extra =
      pod === undefined
        ? undefined
        : {
            [`${prefix}/pod-name`]: [pod.name],
            [`${prefix}/pod-uid`]: [pod.uid],
            ...(this.#tellsNode
              ? {
                  [`${prefix}/credential-id`]: [`JTI=${randomUUID()}`],
                  ...(node === undefined ? {} : { [`${prefix}/node-name`]: [node] }),
                }
              : {}),
          };
    const user = { username, uid, groups, ...(extra === undefined ? {} : { extra }) };
    return { authenticated: true, user, audiences: common };
  }

  /** The token, or why it counts for nothing. */
  #alive(token: string): FakeToken | string {
    const known = this.#tokens.get(token);
    if (known === undefined) return '[invalid bearer token]';
    if (known.expiresAt < Date.now()) return '[invalid bearer token, token has expired]';
    const { pod } = known;
    if (pod === undefined) return known;
    const found = this.#store.list('v1 pods', pod.namespace).find((one) => one.metadata.name === pod.name);
    return found?.metadata.uid === pod.uid
      ? known
      : '[invalid bearer token, service account token has been invalidated]';
  }

  #nodeOf(pod: { name: string; namespace: string }): string | undefined {
    const { spec } = this.#store.get('v1 pods', `${pod.namespace}/${pod.name}`) as {
      spec?: { nodeName?: string };
    };
    return spec?.nodeName;
  }
}
