import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { ApiClient, type ApiTiming } from '../../src/kube/api-client.ts';
import { fixedToken } from '../../src/kube/credential.ts';
import { makeOwnFolder, sweepLeftovers } from './leftovers.ts';
import { relayBetween } from './relay-between.ts';

const RIG = join(import.meta.dirname, '../../tools/kube-rig/build.sh');
/** Nothing takes longer than that to be ready, on a machine ten times slower neither. */
const PATIENCE_MS = 180_000;

/** A name that the server's own certificate always has. */
const SERVER_NAME = 'kubernetes.default.svc';

/** One entry of the audit log, as far as tests look at it. */
export interface AuditEntry {
  /** Of the request: a watch has two entries, when it begins and when it ends. */
  readonly auditID: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  readonly responseStatus?: { readonly code?: number };
}

export interface ControlPlaneOptions {
  /** Runs everything in another network namespace: `['ip', 'netns', 'exec', NAME]`. This process reaches it over a relay. */
  readonly enter?: readonly string[];
  /** The address of a node there: the server listens at every address, and the Service `kubernetes` leads to this one. */
  readonly nodeAddress?: string;
  /** Lines of a static token file (`token,user,uid,"groups"`) besides the administrator's. */
  readonly users?: readonly string[];
  /** Of {@link makeOwnFolder}, where something is in it already; it goes with the control plane. */
  readonly folder?: string;
  /** More flags of the API server; what they name may be made now. */
  readonly flags?: (plane: { readonly folder: string }) => readonly string[];
}

/**
 * A real etcd and kube-apiserver on loopback, with ports, keys and data of their own: RBAC, ServiceAccount admission and an audit log as a cluster has them; no
 * controllers, so that nothing happens but what a test does. Everything ends with the test, and with the process whatever ends that.
 */
export class KubeControlPlane {
  readonly folder: string;
  readonly adminToken = randomBytes(16).toString('hex');
  readonly #bin: string;
  readonly #options: ControlPlaneOptions;
  readonly #clients: ApiClient[] = [];
  #ports = { etcd: 0, peer: 0, api: 0 };
  #flags: readonly string[] = [];
  /** Where this process reaches the API server. */
  #port = 0;
  #endRelay = (): void => {};
  #etcd: ChildProcess | undefined;
  #api: ChildProcess | undefined;

  private constructor(options: ControlPlaneOptions, folder: string) {
    this.#options = options;
    this.folder = folder;
    this.#bin = rigBinaries('kube-apiserver', 'etcd');
  }

  /** Ready when it resolves: some ten seconds. */
  static async start(
    t: Pick<Test, 'teardown'>,
    options: ControlPlaneOptions = {},
  ): Promise<KubeControlPlane> {
    await sweepLeftovers();
    const plane = new KubeControlPlane(options, options.folder ?? makeOwnFolder());
    const atExit = (): void => {
      plane.#killAll();
      plane.#endRelay();
    };
    process.once('exit', atExit);
    t.teardown(async () => {
      await plane.close();
      process.off('exit', atExit);
    });
    await plane.#prepare();
    plane.#flags = options.flags?.(plane) ?? [];
    plane.startEtcd();
    await plane.startApiServer();
    return plane;
  }

  /** As this process reaches it. */
  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** Where the API server listens, in its own namespace. */
  get port(): number {
    return this.#ports.api;
  }

  /** The file with the authority of the server's certificate. */
  get caFile(): string {
    return join(this.folder, 'apiserver.crt');
  }

  /** Ends with the control plane. With every right, or with those of a token. */
  client(token = this.adminToken, timing: Partial<ApiTiming> = {}): ApiClient {
    const ca = readFileSync(this.caFile);
    const server = { url: this.url, ca, serverName: SERVER_NAME, credential: fixedToken(token) };
    const client = new ApiClient(server, timing);
    this.#clients.push(client);
    return client;
  }

  /** A kubeconfig of the administrator; it says where the server is as others see it, when `server` is given. */
  kubeconfig(server = this.url, token = this.adminToken): string {
    const file = join(this.folder, `kubeconfig-${randomBytes(4).toString('hex')}`);
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      clusters: [
        {
          name: 'test',
          cluster: {
            server,
            'tls-server-name': SERVER_NAME,
            'certificate-authority-data': readFileSync(this.caFile).toString('base64'),
          },
        },
      ],
      users: [{ name: 'test', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    };
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return file;
  }

  /** Runs kubectl as the administrator. Rejects with what it complains of. */
  kubectl(args: readonly string[], input?: string): Promise<string> {
    const kubeconfig = this.kubeconfig();
    return new Promise((resolve, reject) => {
      const kubectl = join(rigBinaries('kubectl'), 'kubectl');
      const child = execFile(
        'setpriv',
        ['--pdeathsig', 'SIGKILL', kubectl, '--kubeconfig', kubeconfig, ...args],
        { timeout: PATIENCE_MS, maxBuffer: 64 << 20 },
        (error, out, complaint) =>
          error === null ? resolve(out) : reject(new Error(complaint || error.message)),
      );
      child.stdin?.end(input ?? '');
    });
  }

  /** Ends the API server or etcd, or stops and continues it (`SIGSTOP`, `SIGCONT`): a server that hangs. */
  async signal(
    signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT',
    which: 'kube-apiserver' | 'etcd' = 'kube-apiserver',
  ): Promise<void> {
    const child = which === 'etcd' ? this.#etcd! : this.#api!;
    const ends = signal === 'SIGKILL' || signal === 'SIGTERM';
    const ended = once(child, 'exit');
    child.kill(signal);
    if (ends) await ended;
  }

  /** Starts the API server, for the first time or anew on the same port. Ready when it resolves. */
  async startApiServer(): Promise<void> {
    const { etcd, api } = this.#ports;
    const { nodeAddress } = this.#options;
    const at = (name: string): string => join(this.folder, name);
    this.#api = this.#start('kube-apiserver', [
      `--etcd-servers=http://127.0.0.1:${etcd}`,
      `--secure-port=${api}`,
      ...(nodeAddress === undefined
        ? ['--bind-address=127.0.0.1', '--endpoint-reconciler-type=none']
        : ['--bind-address=0.0.0.0', `--advertise-address=${nodeAddress}`]),
      `--cert-dir=${this.folder}`,
      `--service-account-key-file=${at('sa.pub')}`,
      `--service-account-signing-key-file=${at('sa.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--token-auth-file=${at('tokens.csv')}`,
      '--authorization-mode=Node,RBAC',
      `--audit-policy-file=${at('audit-policy.json')}`,
      `--audit-log-path=${at('audit.log')}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      '--allow-privileged=true',
      ...this.#flags,
    ]);
    await this.#ready(this.#api);
  }

  async restart(): Promise<void> {
    await this.signal('SIGKILL');
    await this.startApiServer();
  }

  /** Lets etcd forget everything before now. Not in another namespace. */
  async compact(): Promise<void> {
    const ask = async (path: string, body: object): Promise<unknown> => {
      const answer = await fetch(`http://127.0.0.1:${this.#ports.etcd}/v3/kv/${path}`, {
        method: 'POST',
        body: JSON.stringify(body),
      });
      if (!answer.ok) throw new Error(`etcd does not take ${path}: ${await answer.text()}`);
      return answer.json();
    };
    const { header } = (await ask('range', { key: 'AA==', limit: '1' })) as { header: { revision: string } };
    await ask('compaction', { revision: header.revision, physical: true });
  }

  /** What the API server was asked for so far. */
  audit(): AuditEntry[] {
    const file = join(this.folder, 'audit.log');
    if (!existsSync(file)) return [];
    const lines = readFileSync(file, 'utf8').split('\n');
    // The last line may be half written.
    return lines.slice(0, -1).map((line) => JSON.parse(line) as AuditEntry);
  }

  /** The last lines of a program's log. */
  log(name: 'kube-apiserver' | 'etcd', lines = 20): string {
    const file = join(this.folder, `${name}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(-lines).join('\n') : '';
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.splice(0).map((client) => client.close()));
    const children = [this.#api, this.#etcd].filter(
      (child) => child !== undefined && child.exitCode === null && child.signalCode === null,
    );
    const ended = children.map((child) => once(child!, 'exit'));
    this.#killAll();
    this.#endRelay();
    await Promise.all(ended);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #prepare(): Promise<void> {
    const [etcd = 0, peer = 0, api = 0, near = 0] = await freePorts(4);
    this.#ports = { etcd, peer, api };
    const { enter } = this.#options;
    this.#port = enter === undefined ? api : near;
    if (enter !== undefined) {
      const from = { enter: [], at: { host: '127.0.0.1', port: near } };
      const to = { enter, at: { host: '127.0.0.1', port: api } };
      this.#endRelay = await relayBetween(from, to, join(this.folder, 'relay.sock'));
    }
    const { publicKey, privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    const write = (name: string, text: string): void =>
      writeFileSync(join(this.folder, name), text, { mode: 0o600 });
    write('sa.pub', publicKey);
    write('sa.key', privateKey);
    const users = [`${this.adminToken},admin,admin,"system:masters"`, ...(this.#options.users ?? [])];
    write('tokens.csv', `${users.join('\n')}\n`);
    const policy = { apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['RequestReceived'] };
    write('audit-policy.json', JSON.stringify({ ...policy, rules: [{ level: 'Metadata' }] }));
  }

  /** For the first time, or anew with the data that it had. */
  startEtcd(): void {
    const { etcd, peer } = this.#ports;
    this.#etcd = this.#start('etcd', [
      `--data-dir=${join(this.folder, 'etcd')}`,
      `--listen-client-urls=http://127.0.0.1:${etcd}`,
      `--advertise-client-urls=http://127.0.0.1:${etcd}`,
      `--listen-peer-urls=http://127.0.0.1:${peer}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
      `--initial-cluster=default=http://127.0.0.1:${peer}`,
      // Its data ends with the test.
      '--unsafe-no-fsync',
      '--log-level=warn',
    ]);
  }

  #start(name: string, args: readonly string[]): ChildProcess {
    const command = [...(this.#options.enter ?? []), join(this.#bin, name), ...args];
    // Whatever ends this process, SIGKILL too, ends its children.
    const child = spawn('setpriv', ['--pdeathsig', 'SIGKILL', ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: this.folder,
    });
    const log = createWriteStream(join(this.folder, `${name}.log`), { flags: 'a' });
    log.on('error', () => {});
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.once('close', () => log.end());
    return child;
  }

  async #ready(child: ChildProcess): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`kube-apiserver ended: ${this.log('kube-apiserver')}`);
      if (existsSync(this.caFile)) {
        const client = this.client();
        const ready = await client.get('/readyz/ping').then(
          () => true,
          (error: unknown) => error instanceof Error && /no JSON/.test(error.message),
        );
        if (ready && (await this.#allReady(client))) return;
      }
      if (performance.now() > end)
        throw new Error(`kube-apiserver is not ready: ${this.log('kube-apiserver')}`);
      await sleep(100);
    }
  }

  async #allReady(client: ApiClient): Promise<boolean> {
    const text = await client.get('/readyz').then(
      () => '',
      (error: unknown) => String(error),
    );
    // It says `ok`, which is no JSON.
    return /no JSON/.test(text);
  }

  #killAll(): void {
    for (const child of [this.#api, this.#etcd]) child?.kill('SIGKILL');
  }
}

/** The folder of the programs that `make kube-rig` builds. Throws when they are not there. */
export function rigBinaries(...names: string[]): string {
  const folder = execFileSync(RIG, ['--path'], { encoding: 'utf8' }).trim();
  const missing = names.filter((name) => !existsSync(join(folder, name)));
  if (missing.length > 0) {
    throw new Error(`${missing.join(' and ')} of Kubernetes must be built first: make kube-rig`);
  }
  return folder;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
