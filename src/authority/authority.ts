import { ServingCertificates } from '../certificates/serving-certificates.ts';
import { messageOf } from '../errors.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { ClusterWatch } from '../kube/cluster-watch.ts';
import { Reflector, type ReflectorTiming } from '../kube/reflector.ts';
import type { Endpoint } from '../lib/address.ts';
import type { RotationKeeper } from '../rotation/keeper.ts';
import { CaPublisher } from './ca-publisher.ts';
import { AuthorityMetrics } from './authority-metrics.ts';
import { FederationCache } from './federation-cache.ts';
import { FederationKeeper } from './federation-keeper.ts';
import { SHARDS } from './identity-records.ts';
import { Issuer } from './issuer.ts';
import { contentsOf, kubeObject } from './kube-access.ts';
import type { SidecarMark } from './pod-check.ts';
import { RecordStore } from './record-store.ts';
import { AuthorityServer } from './server.ts';
import { type SigningGeneration, signingKeys, trustBundleOf } from './signing-keys.ts';
import { Streams } from './streams.ts';
import { ToldTrust } from './told-trust.ts';

export interface AuthorityOptions {
  readonly client: ApiClient;
  /** Where its own Secrets and ConfigMaps are. */
  readonly namespace: string;
  readonly trustDomain: string;
  /** Names and addresses under which sidecars reach it. */
  readonly names: readonly string[];
  readonly listen: Endpoint;
  readonly sidecar: SidecarMark;
  /** Audience that the service-account tokens of sidecars have to be for. */
  readonly audience: string;
  /** Name of the ConfigMap that it keeps in its namespace, with the certificates by which it is believed. */
  readonly caConfigMap: string;
  /** Life of identities, and when they are renewed, seconds. */
  readonly ttl: number;
  readonly renewAfter: number;
  /** File of the other domains that are believed; left out: none. */
  readonly federationFile?: string | undefined;
  readonly release: string;
  readonly log: AuthorityLog;
  readonly timing?: Partial<ReflectorTiming>;
  /** Seconds since the epoch. */
  readonly now?: () => number;
}

export interface AuthorityLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const RECORDS_LABEL = 'countersign.io/records';
const REFRESH_MS = 60_000;

/** One replica of the authority. All that replicas share are objects of the API server. */
export class Authority {
  readonly metrics: AuthorityMetrics;
  readonly #options: AuthorityOptions;
  readonly #watch: ClusterWatch;
  readonly #keys: RotationKeeper<SigningGeneration>;
  readonly #certificates: ServingCertificates;
  readonly #records: RecordStore;
  readonly #recordWatch: Reflector<true>;
  readonly #streams: Streams;
  readonly #federation: FederationKeeper | undefined;
  readonly #trust = new ToldTrust((namespace) => this.#federation?.entries(namespace) ?? []);
  #server: AuthorityServer | undefined;
  #publisher: CaPublisher | undefined;
  #bound: Endpoint | undefined;
  #timer: NodeJS.Timeout | undefined;
  #marks: ReadonlyMap<string, number> = new Map();

  constructor(options: AuthorityOptions) {
    this.#options = options;
    const { client, namespace, trustDomain, names, log } = options;
    const clock = options.now === undefined ? {} : { now: options.now };
    const onProblem = (problem: string): void => log.warn({ problem }, 'a shared object cannot be kept up');
    const secret = (name: string) => kubeObject(client, { kind: 'Secret', namespace, name });
    this.#watch = new ClusterWatch({
      client,
      ...(options.timing === undefined ? {} : { timing: options.timing }),
    });
    this.#keys = signingKeys(trustDomain, secret('countersign-signing-keys'), { ...clock, onProblem });
    this.#certificates = new ServingCertificates({
      object: secret('countersign-authority-ca'),
      names,
      onProblem,
      ...clock,
    });
    this.#records = new RecordStore({
      objectOf: (shard) =>
        kubeObject(client, {
          kind: 'ConfigMap',
          namespace,
          name: `countersign-records-${shard}`,
          labels: { [RECORDS_LABEL]: 'true' },
        }),
      isAlive: (uid) => this.#streams.lookup?.podsByUid.has(uid) === true,
      ...clock,
    });
    this.#recordWatch = new Reflector<true>({
      client,
      resource: { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps', optional: false },
      namespace,
      labelSelector: `${RECORDS_LABEL}=true`,
      reduce: (object) => {
        const { name = '' } = (object['metadata'] ?? {}) as { name?: string };
        const shard = Number(/^countersign-records-(\d{1,3})$/.exec(name)?.[1]);
        if (shard < SHARDS) this.#records.take(shard, contentsOf('ConfigMap', object));
        return true;
      },
      onChange: () => {},
      ...(options.timing === undefined ? {} : { timing: options.timing }),
    });
    const { federationFile } = options;
    if (federationFile !== undefined) {
      this.#federation = new FederationKeeper({
        file: federationFile,
        trustDomain,
        cache: new FederationCache(
          kubeObject(client, { kind: 'ConfigMap', namespace, name: 'countersign-federation-keys' }),
        ),
        onProblem: (problem) => log.warn({ problem }, 'a federated trust domain is not as it should be'),
        onChange: () => this.#streams.refresh(),
        ...clock,
      });
    }
    this.#streams = new Streams({
      feed: this.#watch,
      release: options.release,
      trust: (namespace) => this.#trust.for(namespace),
      authorities: () => this.#certificates.bundle,
      marks: () => this.#marks,
      keyOf: (uid) => this.#records.get(uid)?.key,
      ...(options.now === undefined ? {} : { now: () => options.now!() * 1000 }),
    });
    this.metrics = new AuthorityMetrics(() => ({
      streams: this.#streams.size,
      connections: this.#server?.connections ?? 0,
      viewConfirmedAt: this.#watch.confirmedAt,
      pods: this.#streams.lookup?.podsByUid.size ?? 0,
      ready: this.problem === undefined,
      domains: this.#federation?.domains ?? [],
    }));
  }

  /** What it waits for; undefined: it is ready. */
  get problem(): string | undefined {
    if (this.#server === undefined) return 'keys and certificates are not there yet';
    if (this.#watch.state === undefined) {
      return this.#watch.problems[0]?.reason ?? 'the cluster has not been read yet';
    }
    return this.#federation?.missing;
  }

  get endpoint(): Endpoint | undefined {
    return this.#bound;
  }

  /** PEM: by what sidecars believe it. */
  get authorities(): string {
    return this.#certificates.bundle;
  }

  /** Calls whenever {@link Authority.authorities} may have changed. */
  onAuthorities(listener: () => void): void {
    this.#certificates.subscribe(listener);
  }

  /** Makes what is not there yet and listens. Throws what cannot be had; the cluster itself is waited for. */
  async start(): Promise<void> {
    await this.#keys.start();
    await this.#certificates.start();
    await this.#records.load();
    await this.#federation?.start();
    this.#renew();
    this.#watch.start();
    this.#recordWatch.start();
    const { client, namespace, caConfigMap, sidecar, audience, ttl, renewAfter, now } = this.#options;
    const clock = now === undefined ? {} : { now };
    const issuer = new Issuer({
      kube: client,
      records: this.#records,
      lookup: () => this.#streams.lookup,
      signer: () => this.#keys.rotation.active!.signer,
      trust: (namespace) => this.#trust.for(namespace),
      sidecar,
      audience,
      ttl,
      renewAfter,
      onSecondKey: (pod, alert) => this.#secondKey(pod, alert),
      ...clock,
    });
    const server = new AuthorityServer(
      {
        issuer,
        streams: this.#streams,
        trust: () => this.#trust.own,
        published: () => ({ ...this.#trust.own, authorities: this.#certificates.bundle }),
        markOf: (uid) => this.#marks.get(uid),
        keyOf: (uid) => this.#records.get(uid)?.key,
        onAnswer: (path, code) => this.metrics.answered(path, code),
        onDefect: (error) => this.#options.log.error({ err: error }, 'a request failed because of a defect'),
        ...clock,
      },
      this.#certificates.serving,
    );
    this.#bound = await server.listen(this.#options.listen);
    this.#server = server;
    this.#publisher = new CaPublisher({
      bundle: () => this.#certificates.bundle,
      object: kubeObject(client, { kind: 'ConfigMap', namespace, name: caConfigMap }),
      onProblem: (problem) => this.#options.log.warn({ problem }, 'a shared object cannot be kept up'),
    });
    this.#certificates.subscribe(() => {
      server.useCertificate(this.#certificates.serving);
      this.#publisher?.look();
      this.#streams.refresh();
    });
    this.#keys.subscribe(() => this.#renew());
    this.#records.subscribe(() => this.#renew());
    // What is published changes with the clock alone, too.
    this.#timer = setInterval(() => this.#renew(), REFRESH_MS).unref();
  }

  /** Sends the sidecars to other replicas. */
  drain(): void {
    this.#streams.drain();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#federation?.close();
    this.#keys.close();
    this.#certificates.close();
    this.#streams.close();
    await this.#publisher?.close();
    await this.#server?.close();
    await Promise.all([this.#watch.close(), this.#recordWatch.close()]);
  }

  #renew(): void {
    this.#marks = this.#records.marks;
    const bundle = trustBundleOf(this.#options.trustDomain, this.#keys.rotation.published);
    this.#trust.replaceOwn(bundle);
    this.#streams.refresh();
  }

  #secondKey(pod: { namespace: string; name: string; uid: string }, alert: boolean): void {
    const { log, client } = this.#options;
    const name = `${pod.namespace}/${pod.name}`;
    this.metrics.secondKey(alert);
    this.#renew();
    if (!alert) {
      log.info({ pod: name }, 'the restarted sidecar of a pod has a new key; the former one is dead');
      return;
    }
    const message =
      'Another key asked for the identity of this pod with a token of it; the former key is dead. Nothing explains it: somebody else may hold a token of the pod.';
    log.warn({ pod: name, uid: pod.uid }, message);
    const time = new Date().toISOString();
    const event = {
      apiVersion: 'v1',
      kind: 'Event',
      // Named as kubectl's own recorder names them.
      metadata: { namespace: pod.namespace, name: `${pod.name.slice(0, 200)}.${Date.now().toString(16)}` },
      involvedObject: {
        apiVersion: 'v1',
        kind: 'Pod',
        namespace: pod.namespace,
        name: pod.name,
        uid: pod.uid,
      },
      type: 'Warning',
      reason: 'SecondIdentityKey',
      message,
      source: { component: 'countersign-authority' },
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
    };
    client
      .create(`/api/v1/namespaces/${pod.namespace}/events`, event)
      .catch((error: unknown) => log.warn({ problem: messageOf(error) }, 'an Event cannot be written'));
  }
}
