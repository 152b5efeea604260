import {
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { PROXY_UID } from '../test/support/sidecars.ts';
import { issueIdentity } from '../src/identity/files.ts';
import { DEFAULT_SETTINGS } from '../src/inject/settings.ts';
import { nodeFlags } from '../src/inject/sidecar-parts.ts';
import { findPod } from '../src/sources/manifest-folder.ts';
import type { Place } from './place.ts';
import { type Counts, parseCounts } from './proof.ts';

const ROOT = join(import.meta.dirname, '..');
const IDENTITY_SECONDS = 3 * 3600;
const PATIENCE_MS = 60_000;

/** How a sidecar runs. */
export interface Mode {
  readonly carrier: 'redirect' | 'nfqueue';
  /** As one to whom every connection is first contact, see forgetful.ts; from a bundle alone. */
  readonly forgetful?: boolean;
  /** `--max-connections`. */
  readonly maxConnections?: string;
  /** As in a container it sees the memory limit of its cgroup. */
  readonly seesCgroup?: boolean;
}

const REDIRECT: Mode = { carrier: 'redirect' };

/** The sidecars of the benchmark: the program as an image carries it (`make bundle`), with its default settings. */
export class Sidecars {
  readonly #place: Place;
  readonly #node: string;
  readonly #program: string;
  readonly #forgetful: string;
  readonly #memoryLimit: string;
  readonly #flags: readonly string[];
  readonly #children = new Map<string, ChildProcess>();
  readonly #logs = new Map<string, string>();
  #issued = 0;

  /**
   * @param from what to run: what an image carries, or this checkout's source
   * @param other another checkout, whose bundle and addon are to run instead
   * @param memoryLimit of the container, which says how large the heap may be
   * @param flags of Node.js, besides those of an injected container
   */
  constructor(
    place: Place,
    from: 'bundle' | 'source' = 'bundle',
    other?: string,
    memoryLimit: string = DEFAULT_SETTINGS.memoryLimit,
    flags: readonly string[] = [],
  ) {
    this.#flags = flags;
    this.#place = place;
    this.#memoryLimit = memoryLimit;
    const copy = other === undefined ? place.cluster.program : join(place.folder, 'other-program');
    if (other !== undefined) {
      for (const part of ['native/build', 'package.json'])
        cpSync(join(other, part), join(copy, part), { recursive: true });
    }
    this.#forgetful = join(copy, 'forgetful.ts');
    copyFileSync(join(import.meta.dirname, 'forgetful.ts'), this.#forgetful);
    if (from === 'bundle') cpSync(join(other ?? ROOT, 'bundle'), join(copy, 'bundle'), { recursive: true });
    this.#node = join(place.cluster.program, '.setup/node');
    this.#program = join(copy, from === 'bundle' ? 'bundle/sidecar.cjs' : 'src/main.ts');
  }

  /** Starts the sidecar of a pod and waits until it is ready. */
  async start(pod: string, mode: Mode = REDIRECT): Promise<void> {
    await this.renew([pod], false);
    const apply = ['redirect', 'apply', ...(mode.carrier === 'nfqueue' ? ['--mode', mode.carrier] : [])];
    const { status, complaint } = await this.#place.cluster.network.run(pod, [...this.#command(), ...apply]);
    if (status !== 0) throw new Error(`countersign ${apply.join(' ')} in ${pod}: ${complaint.trim()}`);
    await this.launch(pod, mode);
  }

  /** Starts the sidecar where rules and identity are there. @returns milliseconds from the start of the process to `ready` */
  async launch(pod: string, mode: Mode = REDIRECT): Promise<number> {
    const { network, manifests, folder } = this.#place.cluster;
    const keys = this.#keys(pod);
    const flags = [
      ...['--manifests', manifests, '--pod', `demo/${pod}`, '--trust', join(folder, 'trust/trust.jwks')],
      ...['--token', join(keys, 'token.jwt'), '--key', join(keys, 'key.jwk')],
      ...(mode.carrier === 'nfqueue'
        ? ['--mode', mode.carrier, '--flow-state', join(this.#place.writable, `${pod}.flows`)]
        : []),
      ...(mode.maxConnections === undefined ? [] : ['--max-connections', mode.maxConnections]),
    ];
    const begin = performance.now();
    const child = network.start(
      pod,
      [...this.#command(mode), 'proxy', ...flags],
      PROXY_UID,
      mode.carrier === 'nfqueue' ? ['net_admin', 'net_raw'] : [],
      mode.seesCgroup,
    );
    this.#children.set(pod, child);
    this.#logs.set(pod, '');
    let ready: number | undefined;
    const hear = (chunk: Buffer): void => {
      const text = this.#logs.get(pod)! + chunk.toString();
      this.#logs.set(pod, text.slice(-20_000));
      if (text.includes('"msg":"ready"')) ready ??= performance.now() - begin;
    };
    child.stderr!.on('data', hear);
    child.stdout!.on('data', hear);
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(2)) {
      if (ready !== undefined) return ready;
      if (child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`the sidecar of ${pod} is not ready: ${this.#logs.get(pod)!.trim().slice(-1_000)}`);
      }
    }
  }

  child(pod: string): ChildProcess {
    return this.#children.get(pod)!;
  }

  pid(pod: string): number {
    return this.#children.get(pod)!.pid!;
  }

  /** Ends a sidecar, and waits for it. */
  async stop(pod: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#children.get(pod)!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill(signal);
    await ended;
  }

  /**
   * Gives pods new keys and tokens, so that nobody knows them; with `wait` returns when their sidecars go by them. Each token ends at another
   * second, by which the metrics tell them apart.
   */
  async renew(pods: readonly string[], wait = true): Promise<void> {
    const { cluster } = this.#place;
    const number = ++this.#issued;
    for (const pod of pods) {
      const folder = join(cluster.folder, 'keys', pod, String(number));
      mkdirSync(folder, { recursive: true });
      const found = await findPod(cluster.manifests, `demo/${pod}`);
      const seconds = IDENTITY_SECONDS + 10 * number;
      const issuer = join(cluster.folder, 'trust/issuer.jwk');
      await issueIdentity(issuer, found.pod, found.namespaceLabels, seconds, folder);
      for (const file of readdirSync(folder)) chownSync(join(folder, file), PROXY_UID, PROXY_UID);
      const link = join(cluster.folder, 'keys', pod, 'current');
      symlinkSync(String(number), `${link}.new`);
      renameSync(`${link}.new`, link);
    }
    if (wait) for (const pod of pods) await this.#goesBy(pod, expiryOf(join(this.#keys(pod), 'token.jwt')));
  }

  /** What the connection counters of some pods say. */
  async counts(pods: readonly string[]): Promise<Counts[]> {
    return Promise.all(pods.map(async (pod) => parseCounts(await this.metrics(pod))));
  }

  async metrics(pod: string): Promise<string> {
    const { status, out, complaint } = await this.#place.cluster.curl(pod, 'http://127.0.0.1:14020/metrics');
    if (status !== 0) throw new Error(`no metrics of ${pod}: ${complaint.trim()}; ${this.#logs.get(pod)}`);
    return out;
  }

  log(pod: string): string {
    return this.#logs.get(pod) ?? '';
  }

  #command({ forgetful = false }: Mode = REDIRECT): string[] {
    const preloaded = forgetful ? ['--import', this.#forgetful] : [];
    // As an injected container has it.
    return [this.#node, ...preloaded, ...nodeFlags(this.#memoryLimit), ...this.#flags, this.#program];
  }

  #keys(pod: string): string {
    return join(this.#place.cluster.folder, 'keys', pod, 'current');
  }

  async #goesBy(pod: string, expiry: number): Promise<void> {
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(50)) {
      const shown = /^countersign_identity_expiry_timestamp_seconds ([\d.e+]+)$/m.exec(
        await this.metrics(pod),
      );
      if (Number(shown?.[1]) === expiry) return;
      if (Date.now() > deadline) throw new Error(`${pod} does not take its new identity: ${this.log(pod)}`);
    }
  }
}

/** When a JWT ends, seconds since the epoch (RFC 7519). */
function expiryOf(file: string): number {
  const payload = readFileSync(file, 'utf8').split('.')[1]!;
  return (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { exp: number }).exp;
}
