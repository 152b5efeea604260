import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { describeCluster } from './cluster-diagnostics.ts';
import { writePauseImage, writeTestImage } from './container-image.ts';
import { KubeControlPlane, rigBinaries } from './kube-control-plane.ts';
import { corefile, DNS_USER, dnsObjects } from './kube-dns.ts';
import {
  cniConfig,
  containerdConfig,
  gatewayOf,
  kubeletConfig,
  kubeProxyConfig,
  type NodePlan,
  PAUSE_IMAGE,
} from './kube-node.ts';
import { makeOwnFolder } from './leftovers.ts';
import { NodePlace } from './node-place.ts';
import { NodePrograms } from './node-programs.ts';
import { writtenLog } from './written-log.ts';
import { until } from './until.ts';

/** Node.js, curl and a shell of this machine. Pods need `imagePullPolicy: Never`: there is no registry. */
export const TEST_IMAGE = 'countersign.test/app:1';

const NODE = 'node-1';
const NODE_ADDRESS = '192.168.77.10';
const POD_CIDR = '10.244.0.0/24';
/** Whence kubelet's probes come. */
export const PROBING_ADDRESS = gatewayOf(POD_CIDR);
const PATIENCE_MS = 180_000;
/** What kubectl complains of where it did not wait long enough. */
const IMPATIENT = /Client\.Timeout exceeded|TLS handshake timeout|etcdserver: request timed out/;
const PROGRAMS = [
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
  'containerd',
  'ctr',
  'coredns',
] as const;
type Program = (typeof PROGRAMS)[number];

/** Why a cluster cannot run here; false when it can. */
export function cannotCluster(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  const missing = ['/usr/sbin/runc', '/usr/lib/cni/bridge', '/usr/bin/openssl', '/usr/sbin/ip'].filter(
    (file) => !existsSync(file),
  );
  if (missing.length > 0)
    return `needs ${missing.join(', ')} (Debian: runc containernetworking-plugins openssl iproute2)`;
  return false;
}

/**
 * A real cluster of one node in a network namespace of its own: etcd, API server, controllers, scheduler, kubelet, kube-proxy, containerd, runc, the CNI
 * bridge and CoreDNS. Everything ends with the test, and with the process whatever ends that.
 */
export class KubeCluster {
  readonly plane: KubeControlPlane;
  readonly admin: ApiClient;
  readonly #place: NodePlace;
  /** Those that a test may kill and start again. */
  readonly programs: NodePrograms<Program>;
  readonly #folder: string;
  #described = 0;

  private constructor(plane: KubeControlPlane, place: NodePlace) {
    this.plane = plane;
    this.admin = plane.client();
    this.#place = place;
    this.#folder = join(plane.folder, 'node');
    this.programs = new NodePrograms(this.#folder, place.intoNode);
  }

  /**
   * Ready when it resolves: node Ready, the service account `default` there. Half a minute.
   * @param t each of its tests that fails is followed by a description of the cluster
   */
  static async start(t: Pick<Test, 'teardown' | 'afterEach' | 'passing'>): Promise<KubeCluster> {
    const problem = cannotCluster();
    if (problem !== false) throw new Error(`a cluster cannot run here: ${problem}`);
    const bin = rigBinaries(...PROGRAMS, 'containerd-shim-runc-v2', 'kubectl');
    const folder = makeOwnFolder();
    const place = await NodePlace.make(folder, NODE_ADDRESS);
    const tokens = Object.fromEntries(
      ['kcm', 'scheduler', 'kubelet', 'proxy', 'dns'].map((who) => [who, randomBytes(16).toString('hex')]),
    );
    t.teardown(() => place.end());
    const plane = await KubeControlPlane.start(t, {
      folder,
      enter: place.intoNetwork,
      nodeAddress: NODE_ADDRESS,
      users: [
        `${tokens['kcm']},system:kube-controller-manager,kcm`,
        `${tokens['scheduler']},system:kube-scheduler,scheduler`,
        `${tokens['kubelet']},system:node:${NODE},kubelet,"system:nodes"`,
        `${tokens['proxy']},system:kube-proxy,proxy`,
        `${tokens['dns']},${DNS_USER},dns`,
      ],
      flags: () => {
        makeKubeletClientCertificate(folder);
        return [
          `--kubelet-client-certificate=${folder}/kubelet-client.crt`,
          `--kubelet-client-key=${folder}/kubelet-client.key`,
          '--kubelet-preferred-address-types=InternalIP',
        ];
      },
    });
    const cluster = new KubeCluster(plane, place);
    // tap tears down the last first: nobody lives in the folder any more when the control plane removes it.
    t.teardown(async () => {
      if (!t.passing()) await cluster.#describe('the test file has failed');
      await place.end();
    });
    t.afterEach(async (one) => {
      if (!one.passing()) await cluster.#describe(`failed: ${one.name}`);
    });
    await cluster.#startAll(bin, tokens);
    return cluster;
  }

  kubectl(args: readonly string[], input?: string): Promise<string> {
    return this.plane.kubectl(args, input);
  }

  /** Creates what a manifest says. */
  async apply(manifest: string | object): Promise<string> {
    const text = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await this.kubectl(['apply', '-f', '-'], text);
      } catch (error) {
        // An API server that gets no CPU for half a minute; what was applied stays so.
        if (!IMPATIENT.test(String(error)) || Date.now() > deadline) throw error;
      }
    }
  }

  /** Runs a program in a pod. Rejects when it fails. */
  exec(namespace: string, pod: string, command: readonly string[], container?: string): Promise<string> {
    const which = container === undefined ? [] : ['-c', container];
    return this.kubectl(['-n', namespace, 'exec', pod, ...which, '--', ...command]);
  }

  /** Waits until all pods of a namespace are Ready. */
  async podsReady(namespace: string): Promise<void> {
    await this.kubectl(['-n', namespace, 'wait', '--for=condition=Ready', 'pod', '--all', '--timeout=170s']);
  }

  /** Brings an image archive (of `docker save`, or OCI) to the node. */
  async importImage(archive: string): Promise<void> {
    await run(join(rigBinaries('ctr'), 'ctr'), [
      '-a',
      `${this.#folder}/containerd.sock`,
      '-n',
      'k8s.io',
      'images',
      'import',
      archive,
    ]);
  }

  /** Gives an image on the node one more name. */
  async tagImage(name: string, further: string): Promise<void> {
    const socket = ['-a', `${this.#folder}/containerd.sock`, '-n', 'k8s.io'];
    await run(join(rigBinaries('ctr'), 'ctr'), [...socket, 'images', 'tag', '--force', name, further]);
  }

  /** Runs a program in the node's network namespace. */
  onNode(command: readonly string[]): Promise<string> {
    const [program = '', ...args] = [...this.#place.intoNetwork, ...command];
    return run(program, args);
  }

  /** What a container has written so far, as kubelet has it on the node: the API server and kubelet may be away. */
  written(namespace: string, pod: string, container: string): string {
    return writtenLog(join(this.#folder, 'pod-logs'), namespace, pod, container);
  }

  /** To standard error, since tap shows of a test only what it asserted. What comes third is a consequence. */
  async #describe(why: string): Promise<void> {
    if (++this.#described > 2) return;
    const kubelet = this.programs.log('kubelet', 15);
    const cluster = await describeCluster((args) => this.kubectl(args));
    process.stderr.write(
      `\n==== ${why}; the cluster then:\n${cluster}\n\n$ tail kubelet.log\n${kubelet}\n====\n`,
    );
  }

  async #startAll(bin: string, tokens: Readonly<Record<string, string>>): Promise<void> {
    const folder = this.#folder;
    mkdirSync(join(folder, 'cni'), { recursive: true });
    const server = `https://127.0.0.1:${this.plane.port}`;
    const kubeconfig = (who: string): string => this.plane.kubeconfig(server, tokens[who]);
    const plan: NodePlan = {
      folder,
      name: NODE,
      address: NODE_ADDRESS,
      podCidr: POD_CIDR,
      cgroup: this.#place.cgroup,
      clientCaFile: join(this.plane.folder, 'kubelet-client.crt'),
      proxyKubeconfig: kubeconfig('proxy'),
    };
    const write = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    write('cni/10-bridge.conflist', cniConfig(plan));
    const kcm = kubeconfig('kcm');
    this.programs.start(bin, 'containerd', ['--config', write('containerd.toml', containerdConfig(plan))]);
    this.programs.start(bin, 'kube-controller-manager', [
      `--kubeconfig=${kcm}`,
      `--authentication-kubeconfig=${kcm}`,
      `--authorization-kubeconfig=${kcm}`,
      `--service-account-private-key-file=${join(this.plane.folder, 'sa.key')}`,
      `--root-ca-file=${this.plane.caFile}`,
      '--use-service-account-credentials',
      '--leader-elect=false',
      '--allocate-node-cidrs=true',
      '--cluster-cidr=10.244.0.0/16',
      '--node-cidr-mask-size=24',
    ]);
    this.programs.start(bin, 'kube-scheduler', [
      `--kubeconfig=${kubeconfig('scheduler')}`,
      '--leader-elect=false',
    ]);
    const ctr = join(bin, 'ctr');
    await this.#until('containerd answers', 'containerd', () =>
      run(ctr, ['-a', `${folder}/containerd.sock`, 'version']).then(
        () => true,
        () => false,
      ),
    );
    writePauseImage(PAUSE_IMAGE, join(folder, 'pause.tar'));
    writeTestImage(TEST_IMAGE, join(folder, 'app.tar'));
    await this.importImage(join(folder, 'pause.tar'));
    await this.importImage(join(folder, 'app.tar'));
    this.programs.start(bin, 'kubelet', [
      `--config=${write('kubelet.json', kubeletConfig(plan))}`,
      `--kubeconfig=${kubeconfig('kubelet')}`,
      `--hostname-override=${NODE}`,
      `--node-ip=${NODE_ADDRESS}`,
      `--root-dir=${folder}/kubelet`,
      `--cert-dir=${folder}/kubelet-pki`,
    ]);
    await this.apply({ apiVersion: 'v1', kind: 'List', items: dnsObjects(NODE_ADDRESS) });
    this.programs.start(bin, 'coredns', [
      '-conf',
      write('Corefile', corefile(NODE_ADDRESS, kubeconfig('dns'))),
    ]);
    this.programs.start(bin, 'kube-proxy', [`--config=${write('kube-proxy.json', kubeProxyConfig(plan))}`]);
    await this.#until('the node is Ready', 'kubelet', async () => {
      const ready = '{.status.conditions[?(@.type=="Ready")].status}';
      return (
        (await this.kubectl(['get', 'node', NODE, '-o', `jsonpath=${ready}`]).catch(() => '')) === 'True'
      );
    });
    await this.#until('CoreDNS has read the Services', 'coredns', () =>
      this.onNode(['curl', '-sf', `http://${NODE_ADDRESS}:8181/ready`]).then(
        () => true,
        () => false,
      ),
    );
    await this.#until('the service account default is there', 'kube-controller-manager', () =>
      this.admin.get('/api/v1/namespaces/default/serviceaccounts/default').then(
        () => true,
        () => false,
      ),
    );
  }

  async #until(what: string, program: Program, holds: () => Promise<boolean>): Promise<void> {
    try {
      await until(
        what,
        () => {
          const ended = this.programs.ended(program);
          if (ended !== undefined) throw new Error(`${program} ended with ${ended}`);
          return holds();
        },
        PATIENCE_MS,
      );
    } catch (error) {
      throw new Error(`${what}: ${String(error)}\n${this.programs.log(program, 30)}`, { cause: error });
    }
  }
}

/** What the API server shows to kubelet: its own authority, trusted by kubelet alone. */
function makeKubeletClientCertificate(folder: string): void {
  const key = join(folder, 'kubelet-client.key');
  const certificate = join(folder, 'kubelet-client.crt');
  const subject = '/O=system:masters/CN=kube-apiserver-kubelet-client';
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const extension = ['-addext', 'extendedKeyUsage=clientAuth'];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      ...curve,
      '-keyout',
      key,
      '-out',
      certificate,
      '-days',
      '7',
      '-subj',
      subject,
      ...extension,
    ],
    { stdio: 'ignore' },
  );
}

function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: PATIENCE_MS, maxBuffer: 64 << 20 }, (error, out, complaint) =>
      error === null ? resolve(out) : reject(new Error(complaint || error.message)),
    );
  });
}
