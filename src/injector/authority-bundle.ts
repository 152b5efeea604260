import type { ApiClient } from '../kube/api-client.ts';

interface ConfigMap {
  readonly metadata?: {
    readonly namespace?: string;
    readonly ownerReferences?: readonly { readonly uid?: string }[];
  };
  readonly data?: Readonly<Record<string, string>>;
}

const KEY = 'ca.pem';

export interface AuthorityBundleOptions {
  readonly client: ApiClient;
  /**
   * Where the authority publishes its certificates. The copies belong to this namespace and end with it (garbage collection), so that uninstalling leaves
   * nothing; not to the webhook configurations, which somebody takes away to have pods made without the injector.
   */
  readonly namespace: string;
  /** Name of the ConfigMap, there and in every namespace with injected pods. */
  readonly name: string;
}

/**
 * Brings the certificates by which sidecars believe the authority into the namespaces of injected pods: a pod can only mount a ConfigMap of its own namespace.
 * They are public. Sidecars learn later ones from the authority itself, so these are for the first word alone.
 */
export class AuthorityBundle {
  readonly #options: AuthorityBundleOptions;
  readonly #written = new Map<string, string>();

  constructor(options: AuthorityBundleOptions) {
    this.#options = options;
  }

  /** Makes or renews the copy in one namespace. Throws when it cannot: the pod would start and never be ready. */
  async bringTo(namespace: string): Promise<void> {
    if (namespace === this.#options.namespace) return;
    const bundle = await this.#published();
    if (this.#written.get(namespace) === bundle) return;
    await this.#write(namespace, bundle, await this.#owner());
    this.#written.set(namespace, bundle);
  }

  /**
   * Renews every copy there is, after the authority's certificates rotated, and makes those that are missing: of pods that were injected beforehand
   * (`countersign inject`) nobody asks at admission, and a copy may have been deleted.
   *
   * @param namespaces with sidecars
   * @throws Error of the first copy that could not be written, after all were tried: a namespace that ends takes none
   */
  async renewAll(namespaces: Iterable<string>): Promise<void> {
    const { client, name, namespace } = this.#options;
    const bundle = await this.#published();
    const list = (await client.get('/api/v1/configmaps', { fieldSelector: `metadata.name=${name}` })) as {
      items?: readonly ConfigMap[];
    };
    const owner = await this.#owner();
    const stale = new Set(namespaces);
    this.#written.clear();
    for (const { metadata, data } of list.items ?? []) {
      const place = metadata?.namespace;
      if (place === undefined) continue;
      const sound = data?.[KEY] === bundle && metadata?.ownerReferences?.[0]?.uid === owner;
      if (!sound) stale.add(place);
      else {
        stale.delete(place);
        this.#written.set(place, bundle);
      }
    }
    stale.delete(namespace);
    let problem: unknown;
    for (const place of stale) {
      try {
        await this.#write(place, bundle, owner);
        this.#written.set(place, bundle);
      } catch (error) {
        problem ??= error;
      }
    }
    if (problem !== undefined) throw problem;
  }

  async #owner(): Promise<string | undefined> {
    const path = `/api/v1/namespaces/${this.#options.namespace}`;
    return ((await this.#options.client.get(path)) as { metadata?: { uid?: string } }).metadata?.uid;
  }

  async #published(): Promise<string> {
    const { client, namespace, name } = this.#options;
    const { data } = (await client.get(`/api/v1/namespaces/${namespace}/configmaps/${name}`)) as ConfigMap;
    const bundle = data?.[KEY];
    if (bundle === undefined || !bundle.includes('BEGIN CERTIFICATE'))
      throw new Error(
        `configmap/${namespace}/${name} has no certificates in ${KEY}: the authority publishes them there`,
      );
    return bundle;
  }

  async #write(namespace: string, bundle: string, owner: string | undefined): Promise<void> {
    const { client, name, namespace: own } = this.#options;
    const list = `/api/v1/namespaces/${namespace}/configmaps`;
    const object = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        namespace,
        labels: { 'app.kubernetes.io/managed-by': 'countersign' },
        ownerReferences: [{ apiVersion: 'v1', kind: 'Namespace', name: own, uid: owner }],
      },
      data: { [KEY]: bundle },
    };
    try {
      await client.create(list, object);
    } catch (error) {
      if ((error as { status?: number }).status !== 409) throw error;
      await client.request('PUT', `${list}/${name}`, { body: object });
    }
  }
}
