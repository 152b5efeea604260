import type { ServingCertificates } from '../certificates/serving-certificates.ts';
import { X509Certificate } from 'node:crypto';
import { messageOf } from '../errors.ts';
import type { InjectNamespace } from '../inject/inject-pod.ts';
import type { InjectSettings } from '../inject/settings.ts';
import type { ApiClient } from '../kube/api-client.ts';
import type { Endpoint } from '../lib/address.ts';
import { EventLimit, eventOf } from './events.ts';
import { InjectorMetrics } from './injector-metrics.ts';
import {
  type AdmissionRequest,
  answerReview,
  answerVerification,
  decodeReview,
  refuseBundle,
  type Review,
} from './review.ts';
import { askingPods } from './asking-pods.ts';
import { patchWebhookBundle } from './webhook-bundle.ts';
import { WebhookServer } from './webhook-server.ts';

export interface InjectorLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface InjectorOptions {
  readonly client: ApiClient;
  readonly certificates: ServingCertificates;
  readonly settings: InjectSettings;
  readonly release: string;
  readonly listen: Endpoint;
  /** Of the webhook configurations that this injector keeps up. */
  readonly webhookName: string;
  /** Puts what sidecars need into a namespace before its first pod starts. */
  readonly prepareNamespace: (namespace: string) => Promise<void>;
  /** The same again, every minute, for namespaces with sidecars. */
  readonly keepNamespaces: (namespaces: ReadonlySet<string>) => Promise<void>;
  readonly log: InjectorLog;
}

const LOOK_MS = 60_000;
const GRACE_MS = 10_000;

/** One replica of the injector: stateless, so that any number of them answers. */
export class Injector {
  readonly metrics: InjectorMetrics;
  readonly #options: InjectorOptions;
  readonly #events = new EventLimit();
  #server: WebhookServer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #problem: string | undefined = 'starting';
  #uninjected: number | undefined;

  constructor(options: InjectorOptions) {
    this.#options = options;
    this.metrics = new InjectorMetrics(() => ({
      uninjectedPods: this.#uninjected,
      certificateExpiry:
        this.#server === undefined ? undefined : expiryOf(options.certificates.serving.certificate),
      ready: this.problem === undefined,
    }));
  }

  /** Why it is not ready; undefined when it is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** @returns the port that is served. Throws when certificates or port cannot be had. */
  async start(): Promise<number> {
    const { certificates, listen, log } = this.#options;
    await certificates.start();
    this.#server = new WebhookServer({
      pair: certificates.serving,
      routes: {
        '/inject': (body) => this.#review(body, answerReview),
        '/ephemeral': (body) => this.#review(body, answerReview),
        '/bundle': async (body) => this.#refuseBundle(body),
        '/verify': (body) => this.#review(body, answerVerification),
      },
      onDefect: (error) => {
        this.metrics.reviewed('failed', 0);
        log.error({ problem: messageOf(error) }, 'a review failed');
      },
    });
    const port = await this.#server.listen(listen);
    certificates.subscribe(() => {
      this.#server?.renew(certificates.serving);
      void this.#look();
    });
    await this.#look();
    this.#timer = setInterval(() => void this.#look(), LOOK_MS);
    return port;
  }

  async close(): Promise<void> {
    this.#problem = 'shutting down';
    clearInterval(this.#timer);
    this.#options.certificates.close();
    await this.#server?.close(GRACE_MS);
  }

  async #review(body: unknown, answerOf: typeof answerReview): Promise<object> {
    const started = performance.now();
    const request = decodeReview(body);
    if (typeof request === 'string') throw new Error(request);
    const { settings, release, log } = this.#options;
    const review = answerOf(request, await this.#namespace(request.namespace), settings, release);
    if (review.outcome === 'injected' && !request.dryRun)
      await this.#options.prepareNamespace(request.namespace);
    this.metrics.reviewed(review.outcome, (performance.now() - started) / 1000);
    const name = request.pod.metadata?.name ?? request.pod.metadata?.generateName ?? '';
    log.info(
      {
        namespace: request.namespace,
        pod: name,
        outcome: review.outcome,
        reasons: review.reasons,
        dryRun: request.dryRun,
      },
      'reviewed',
    );
    void this.#tell(request, review);
    return review.answer;
  }

  #refuseBundle(body: unknown): object {
    const answer = refuseBundle(body);
    if (answer === undefined) throw new Error('the body is no AdmissionReview');
    this.metrics.reviewed('refused', 0);
    this.#options.log.warn({}, "somebody was refused to write the authority's certificates in a namespace");
    return answer;
  }

  /** Read each time: a grant or a label that was set a moment ago counts, and one that was taken away does not. */
  async #namespace(name: string): Promise<InjectNamespace> {
    const object = await this.#options.client.get(`/api/v1/namespaces/${encodeURIComponent(name)}`);
    const { metadata } = object as {
      metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
    };
    return { name, labels: metadata?.labels ?? {}, annotations: metadata?.annotations ?? {} };
  }

  async #tell(request: AdmissionRequest, review: Review): Promise<void> {
    try {
      const event = eventOf(request, review, Date.now());
      if (event === undefined || !this.#events.allows(request, review, Date.now())) return;
      await this.#options.client.create(`/api/v1/namespaces/${request.namespace}/events`, event);
    } catch (error) {
      this.#options.log.warn({ problem: messageOf(error) }, 'an Event could not be recorded');
    }
  }

  async #keep(enrolled: ReadonlySet<string>): Promise<void> {
    const { keepNamespaces, log } = this.#options;
    try {
      await keepNamespaces(enrolled);
    } catch (error) {
      log.warn({ problem: messageOf(error) }, 'the copies of the certificates cannot be kept up');
    }
  }

  async #look(): Promise<void> {
    const { client, certificates, webhookName, log } = this.#options;
    try {
      const changed = await patchWebhookBundle(client, webhookName, certificates.bundle);
      if (changed > 0)
        log.info({ entries: changed }, 'the webhook configurations got the present certificates');
      if (this.#problem !== 'shutting down') this.#problem = undefined;
    } catch (error) {
      // Once believed, the webhook goes on to be: an old bundle holds until the authority over it rotates, days later.
      if (this.#problem !== undefined && this.#problem !== 'shutting down') this.#problem = messageOf(error);
      log.warn({ problem: messageOf(error) }, 'the webhook configurations cannot be kept up');
    }
    try {
      const { uninjected: pods, enrolled } = await askingPods(client);
      if (pods.length > 0 && this.#uninjected !== pods.length)
        log.warn(
          { pods: pods.slice(0, 20), count: pods.length },
          'pods ask for a sidecar and have none: recreate them',
        );
      this.#uninjected = pods.length;
      if (enrolled.size > 0) await this.#keep(enrolled);
    } catch (error) {
      this.#uninjected = undefined;
      log.warn({ problem: messageOf(error) }, 'pods without a sidecar cannot be counted');
    }
  }
}

function expiryOf(certificate: string): number {
  return new X509Certificate(certificate).validToDate.getTime() / 1000;
}
