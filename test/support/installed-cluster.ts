import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { KubeCluster, TEST_IMAGE } from './kube-cluster.ts';
import { until } from './until.ts';

const ROOT = join(import.meta.dirname, '../..');
/** What `make image` writes. */
const ARCHIVE = join(ROOT, '.setup/image/countersign.tar');
/** The image that the examples name; here the test's own stands in for it, which has the same Node.js. */
const EXAMPLE_IMAGE = 'docker.io/library/node:24-slim';
/** For whatever has to come true: ten times what it takes. */
export const PATIENCE_MS = 120_000;

export const INSTALL_FLAGS: readonly string[] = ['--image=countersign:dev', '--image-pull-policy=Never'];

/** A cluster with Countersign on it, from its own image and by its own manifests, as a user does it. */
export class InstalledCluster {
  readonly cluster: KubeCluster;

  private constructor(cluster: KubeCluster) {
    this.cluster = cluster;
  }

  /** With the images on the node, and nothing installed yet. */
  static async bare(t: Pick<Test, 'teardown' | 'afterEach' | 'passing'>): Promise<InstalledCluster> {
    if (!existsSync(ARCHIVE)) throw new Error(`${ARCHIVE} is not there: make image`);
    const cluster = await KubeCluster.start(t);
    await cluster.importImage(ARCHIVE);
    await cluster.tagImage(TEST_IMAGE, EXAMPLE_IMAGE);
    return new InstalledCluster(cluster);
  }

  /** Installed and ready when it resolves. */
  static async start(t: Pick<Test, 'teardown' | 'afterEach' | 'passing'>): Promise<InstalledCluster> {
    const installed = await InstalledCluster.bare(t);
    await installed.install();
    return installed;
  }

  async install(): Promise<void> {
    await this.cluster.apply(await countersign(['install', ...INSTALL_FLAGS]));
    for (const part of ['authority', 'injector'])
      await this.rolledOut('countersign-system', `deployment/countersign-${part}`);
    await this.injects();
  }

  /** Waits until the API server reaches the injector: kube-proxy learns of it after the Deployment is said to be rolled out. */
  async injects(): Promise<void> {
    const trial = pod('default', 'trial', IDLE, { labels: { 'countersign.io/inject': 'true' } });
    let last: string | undefined;
    await until(
      'a pod on trial is injected',
      async () => {
        last = await this.complaint(['create', '--dry-run=server', '-f', '-'], JSON.stringify(trial));
        return last === undefined;
      },
      PATIENCE_MS,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; the last complaint was: ${last}`);
    });
  }

  kubectl(args: readonly string[], input?: string): Promise<string> {
    return this.cluster.kubectl(args, input);
  }

  /** What kubectl complains of; undefined: it succeeded. */
  complaint(args: readonly string[], input?: string): Promise<string | undefined> {
    return this.kubectl(args, input).then(
      () => undefined,
      (error: unknown) => String(error),
    );
  }

  async rolledOut(namespace: string, workload: string): Promise<void> {
    await this.kubectl(['-n', namespace, 'rollout', 'status', workload, '--timeout=170s']);
  }

  async ready(namespace: string, ...pods: readonly string[]): Promise<void> {
    const which = pods.length === 0 ? ['--all'] : pods;
    await this.kubectl(['-n', namespace, 'wait', '--for=condition=Ready', 'pod', ...which, '--timeout=170s']);
  }

  /** One request from a pod: what came back, or curl's complaint. A pod of a workload is named `deployment/NAME`. */
  ask(namespace: string, pod: string, url: string, container = 'app'): Promise<string> {
    return this.cluster
      .exec(namespace, pod, ['curl', '-sS', '--max-time', '20', url], container)
      .catch((error: unknown) => String(error));
  }

  /** Asks until the answer is as it should be. */
  async askUntil(
    namespace: string,
    pod: string,
    url: string,
    wanted: RegExp,
    container = 'app',
  ): Promise<void> {
    let last = '';
    await until(
      `${pod} gets ${wanted} from ${url}`,
      async () => wanted.test((last = await this.ask(namespace, pod, url, container))),
      PATIENCE_MS,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; the last answer was: ${last}`);
    });
  }

  /** What a pod said in the last seconds. */
  said(namespace: string, pod: string, container: string, sinceSeconds = 3): Promise<string> {
    return this.kubectl(['-n', namespace, 'logs', pod, '-c', container, `--since=${sinceSeconds}s`]);
  }

  json<T>(args: readonly string[]): Promise<T> {
    return this.kubectl([...args, '-o', 'json']).then((text) => JSON.parse(text) as T);
  }
}

/** A request was refused by a sidecar, not lost. */
export const REFUSED = /reset by peer|Empty reply/;

/** Runs the program. @returns its standard output */
export function countersign(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(join(ROOT, 'bin/countersign'), args, { maxBuffer: 16 << 20 }, (error, out, complaint) =>
      error === null ? resolve(out) : reject(new Error(complaint || error.message)),
    );
  });
}

/** A file of `manifests/examples`. */
export function example(name: string): string {
  return readFileSync(join(ROOT, 'manifests/examples', name), 'utf8');
}

interface AppOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Members of the pod's spec. */
  readonly spec?: object;
  /** Members of the container. */
  readonly container?: object;
}

/** Answers every request at 8080 with the pod's name. */
export const SERVER = `const s = require('http').createServer((q, r) => r.end('from ' + require('os').hostname()));
s.listen(8080); process.on('SIGTERM', () => s.close(() => process.exit()));`;
/** Does nothing until it is told to end. */
export const IDLE = `process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6);`;

/** The template of an application's pod; `program` is JavaScript. */
export function template(program: string, { labels, annotations, spec, container }: AppOptions = {}): object {
  return {
    metadata: { labels: labels ?? {}, annotations: annotations ?? {} },
    spec: {
      terminationGracePeriodSeconds: 10,
      ...spec,
      containers: [
        {
          name: 'app',
          image: TEST_IMAGE,
          imagePullPolicy: 'Never',
          command: ['node', '-e', program],
          ...container,
        },
      ],
    },
  };
}

export function pod(namespace: string, name: string, program: string, options: AppOptions = {}): object {
  const made = template(program, options) as { metadata: object };
  return { apiVersion: 'v1', kind: 'Pod', ...made, metadata: { ...made.metadata, name, namespace } };
}

export function namespace(name: string, labels: Readonly<Record<string, string>>, annotations = {}): object {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels, annotations } };
}

export function service(namespace: string, name: string, selector: object, spec: object = {}): object {
  const ports = [{ port: 80, targetPort: 8080 }];
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { selector, ports, ...spec },
  };
}

/** Deployment or StatefulSet with a readiness probe of its port. */
export function workload(
  kind: 'Deployment' | 'StatefulSet',
  namespace: string,
  name: string,
  replicas: number,
  options: AppOptions & { readonly members?: object } = {},
): object {
  const labels = { app: name, ...options.labels };
  const probe = { readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 } };
  const container = { ...probe, ...options.container };
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: template(SERVER, { ...options, labels, container }),
      ...options.members,
    },
  };
}

/** Objects as one manifest. */
export function list(...items: object[]): object {
  return { apiVersion: 'v1', kind: 'List', items };
}

/** Ingress of pods with `app`, from pods with the given labels alone. */
export function allowOnly(namespace: string, app: string, from: object): object {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `${app}-only`, namespace },
    spec: {
      podSelector: { matchLabels: { app } },
      ingress: [{ from: [{ podSelector: { matchLabels: from } }] }],
    },
  };
}
