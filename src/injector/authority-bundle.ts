import type { ApiClient } from '../kube/api-client.ts';

interface ConfigMap {
  readonly metadata?: { readonly namespace?: string; readonly resourceVersion?: string };
  readonly data?: Readonly<Record<string, string>>;
}

const KEY = 'ca.pem';

export interface AuthorityBundleOptions {
  readonly client: ApiClient;
  /** Where the authority publishes its certificates. */
  readonly namespace: string;
  /** Name of the ConfigMap, there and in every namespace with injected pods. */
  readonly name: string;
  /** The mutating webhook configuration: the copies end with it (garbage collection), so that uninstalling leaves nothing. */
  readonly webhookName: string;
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
    await this.#write(namespace, bundle);
    this.#written.set(namespace, bundle);
  }

  /** Renews every copy there is, after the authority's certificates rotated. */
  async renewAll(): Promise<void> {
    const { client, name, namespace } = this.#options;
    const bundle = await this.#published();
    const list = (await client.get('/api/v1/configmaps', { fieldSelector: `metadata.name=${name}` })) as {
      items?: readonly ConfigMap[];
    };
    const there = new Set((list.items ?? []).map(({ metadata }) => metadata?.namespace));
    // A copy that somebody deleted is made again for the next pod.
    for (const known of this.#written.keys()) if (!there.has(known)) this.#written.delete(known);
    for (const { metadata, data } of list.items ?? []) {
      const place = metadata?.namespace;
      if (place === undefined || place === namespace) continue;
      if (data?.[KEY] !== bundle) await this.#write(place, bundle);
      this.#written.set(place, bundle);
    }
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

  async #write(namespace: string, bundle: string): Promise<void> {
    const { client, name, webhookName } = this.#options;
    const configurations = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations';
    const owner = (await client.get(`${configurations}/${webhookName}`)) as ConfigMap & {
      metadata: { uid?: string };
    };
    const list = `/api/v1/namespaces/${namespace}/configmaps`;
    const object = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        namespace,
        labels: { 'app.kubernetes.io/managed-by': 'countersign' },
        ownerReferences: [
          {
            apiVersion: 'admissionregistration.k8s.io/v1',
            kind: 'MutatingWebhookConfiguration',
            name: webhookName,
            uid: owner.metadata.uid,
          },
        ],
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
