import { messageOf } from '../errors.ts';
import type { SharedObject } from '../rotation/shared-object.ts';
import { type ClusterFeed, statusOf } from './kube-access.ts';

/** Of the ConfigMap that pods mount, and of its one key. */
export const CA_CONFIG_MAP = { name: 'countersign-ca', key: 'ca.pem' } as const;

const RETRY_MS = 5_000;
/** How often a ConfigMap is looked at that nobody here changed. */
const LOOK_MS = 600_000;

export interface CaPublisherOptions {
  readonly feed: ClusterFeed;
  /** PEM. */
  readonly bundle: () => string;
  readonly objectIn: (namespace: string) => SharedObject;
  /** Always has one: that of the authority itself. */
  readonly ownNamespace: string;
  readonly onProblem: (problem: string) => void;
}

/** Keeps the certificates by which authorities are believed in every namespace with enrolled pods: a pod mounts ConfigMaps of its own namespace alone. */
export class CaPublisher {
  readonly #options: CaPublisherOptions;
  readonly #published = new Map<string, { readonly bundle: string; readonly at: number }>();
  readonly #unsubscribe: () => void;
  readonly #timer: NodeJS.Timeout;
  #turn: Promise<void> = Promise.resolve();
  #queued = false;
  #closed = false;

  constructor(options: CaPublisherOptions) {
    this.#options = options;
    this.#unsubscribe = options.feed.subscribe(() => this.look());
    this.#timer = setInterval(() => this.look(), RETRY_MS).unref();
    this.look();
  }

  /** Publishes what is not there yet, one look after the other. */
  look(): void {
    if (this.#queued || this.#closed) return;
    this.#queued = true;
    this.#turn = this.#turn.then(() => {
      this.#queued = false;
      return this.#publish();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    clearInterval(this.#timer);
    await this.#turn;
  }

  async #publish(): Promise<void> {
    const { feed, ownNamespace, bundle, objectIn, onProblem } = this.#options;
    const pods = feed.state?.contents.pods ?? [];
    const namespaces = new Set([ownNamespace]);
    for (const { pod, finished } of pods) if (pod.enrolled && !finished) namespaces.add(pod.namespace);
    const wanted = bundle();
    const now = performance.now();
    for (const namespace of namespaces) {
      const known = this.#published.get(namespace);
      if (this.#closed || (known?.bundle === wanted && now - known.at < LOOK_MS)) continue;
      try {
        const object = objectIn(namespace);
        const found = await object.read();
        const data = { [CA_CONFIG_MAP.key]: wanted };
        if (found === undefined) await object.create(data);
        else if (found.data[CA_CONFIG_MAP.key] !== wanted) await object.replace(data, found.version);
        this.#published.set(namespace, { bundle: wanted, at: now });
      } catch (error) {
        // Where it may not write, somebody else publishes (the injector): said once per bundle, and looked at again with the others.
        if (statusOf(error) === 403) this.#published.set(namespace, { bundle: wanted, at: now });
        onProblem(`the certificates cannot be published in ${namespace}: ${messageOf(error)}`);
      }
    }
  }
}
