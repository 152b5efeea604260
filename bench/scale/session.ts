import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../test/support/until.ts';
import { Child } from './child.ts';
import type { FromAuthority, FromSidecars, ProcessUse, ToAuthority, ToSidecars } from './messages.ts';
import { monotonicMs } from './messages.ts';
import { authorityToken, createObject, pathOf, podToken, type ScalePlace } from './place.ts';
import {
  groundObjects,
  nameOf,
  peersOf,
  podAt,
  podStatus,
  rawPod,
  rawPolicy,
  receiversOfPod,
  receiversOfPolicy,
  SERIAL_LABEL,
  serviceObjects,
  type Size,
  sourceAddress,
  SYSTEM,
} from './population.ts';
import { bytesBetween, bytesSent, countRequests } from './requests.ts';
import type { Held, Load, ScaleWindow } from './result.ts';
import { latencyOf, Tracker } from './tracker.ts';

/** Requests of the benchmark itself that are under way at once. */
const AT_ONCE = 24;

type Sidecars = Child<ToSidecars, FromSidecars>;

/** A cluster, an authority on it and sidecars, that grow step by step. */
export class ScaleSession {
  readonly #place: ScalePlace;
  readonly #size: Size;
  readonly #folder = mkdtempSync(join(tmpdir(), 'countersign-scale-'));
  readonly #tracker = new Tracker();
  readonly #authority = new Child<ToAuthority, FromAuthority>('authority-process.ts');
  readonly #sidecars: { readonly child: Sidecars; readonly count: number }[] = [];
  #serving = { url: '', port: 0 };
  #pods = 0;
  #connected = 0;
  #serial = 0;

  constructor(place: ScalePlace, size: Size) {
    this.#place = place;
    this.#size = size;
  }

  get #caFile(): string {
    return join(this.#folder, 'ca.crt');
  }

  /** Makes namespaces, nodes and policies, and starts the authority. */
  async start(): Promise<void> {
    const { admin, server } = this.#place;
    const named = (name: string): object => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    const namespaces = Array.from({ length: this.#size.namespaces }, (_, at) => `ns-${at}`);
    for (const name of [SYSTEM, ...namespaces]) await createObject(admin, named(name));
    for (const namespace of namespaces) {
      const metadata = { namespace, name: 'default' };
      await createObject(admin, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
    }
    await inParallel(groundObjects(this.#size), (object) => createObject(admin, object));
    const token = await authorityToken(this.#place);
    await this.#authority.next('up');
    this.#authority.tell({ kind: 'start', server, token });
    const { url, port, authorities } = await this.#authority.next('serving');
    this.#serving = { url, port };
    writeFileSync(this.#caFile, authorities);
  }

  /** Adds pods, and their Services, until there are so many. */
  async growPods(count: number): Promise<void> {
    const { admin, real } = this.#place;
    const [first, size] = [this.#pods, this.#size];
    const indices = Array.from({ length: count - first }, (_, at) => first + at);
    await inParallel(indices, async (index) => {
      const status = podStatus(index, size);
      const made = (await createObject(admin, { ...rawPod(index, size), status })) as object;
      // A real one passes over the status of what is created.
      if (!real) return;
      await admin.request('PUT', `${pathOf(made).one}/status`, {
        body: { ...made, status },
      });
    });
    await inParallel(serviceObjects(first, count, size), (object) => createObject(admin, object));
    this.#pods = count;
  }

  /** Adds sidecars, in a process of their own, until there are so many. Resolves when all of them know their peers. */
  async growSidecars(count: number): Promise<void> {
    const size = this.#size;
    const child: Sidecars = new Child('sidecars-process.ts', (message) => {
      if (message.kind !== 'seen') return false;
      this.#tracker.seen(message.object, message.serial, message.by, message.at);
      return true;
    });
    this.#sidecars.push({ child, count: count - this.#connected });
    const indices = Array.from({ length: count - this.#connected }, (_, at) => this.#connected + at);
    const plans = await inParallel(indices, async (index) => {
      const { namespace, name } = podAt(index, size);
      const tokenFile = join(this.#folder, `token-${index}`);
      writeFileSync(tokenFile, await podToken(this.#place.admin, namespace, name), { mode: 0o600 });
      const peers = peersOf(index, size).map((peer) => ({
        pod: nameOf(peer, size),
        address: podAt(peer, size).address,
      }));
      return { pod: `${namespace}/${name}`, from: sourceAddress(index), tokenFile, peers };
    });
    await child.next('up');
    child.tell({ kind: 'connect', url: this.#serving.url, caFile: this.#caFile, sidecars: plans });
    await child.next('connected');
    this.#connected = count;
  }

  /** Lets some time pass, with changes at a rate, and measures it. It ends when all sidecars know all changes. */
  async window(load: Load, seconds: number, perSecond: number): Promise<ScaleWindow> {
    const requestsBefore = this.#place.requests().length;
    const bytesBefore = this.#bytes();
    const use = await this.#authorityUse();
    const began = monotonicMs();
    const changes: Promise<void>[] = [];
    const count = load === 'none' ? 0 : Math.round(seconds * perSecond);
    for (let at = 0; at < count; at++) {
      await sleep(Math.max(0, began + (at * 1000) / perSecond - monotonicMs()));
      if (load === 'labels') changes.push(this.#changeLabel(at));
      else if (load === 'policies') changes.push(this.#changePolicy(at % this.#size.namespaces));
      else for (let one = 0; one < this.#size.namespaces; one++) changes.push(this.#changePolicy(one));
    }
    await sleep(Math.max(0, began + seconds * 1000 - monotonicMs()));
    await Promise.all(changes);
    await until('every sidecar knows every change', () => this.#tracker.missing === 0).catch(() => {});
    const after = await this.#authorityUse();
    return {
      load,
      pods: this.#pods,
      sidecars: this.#connected,
      seconds: (monotonicMs() - began) / 1000,
      changes: changes.length,
      latency: latencyOf(this.#tracker.take()),
      missing: this.#tracker.missing,
      requests: countRequests(this.#place.requests().slice(requestsBefore)),
      cpu: after.cpu - use.cpu,
      bytes: bytesBetween(bytesBefore, this.#bytes()),
    };
  }

  /** What the authority and the process of the first sidecars hold now. */
  async held(): Promise<Held> {
    const authority = await this.#authorityUse();
    const { child, count } = this.#sidecars[0]!;
    child.tell({ kind: 'measure' });
    const { use } = await child.next('measured');
    return { pods: this.#pods, sidecars: this.#connected, authority, first: use, firstCount: count };
  }

  async close(): Promise<void> {
    await Promise.all(
      [this.#authority, ...this.#sidecars.map(({ child }) => child)].map((one) => one.close()),
    );
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #changePolicy(namespace: number): Promise<void> {
    const policy = rawPolicy(namespace, this.#size, ++this.#serial);
    const object = `policy/ns-${namespace}/policy-${namespace}`;
    const receivers = receiversOfPolicy(namespace, this.#connected, this.#size);
    this.#tracker.changed(object, this.#serial, receivers, monotonicMs());
    await this.#place.admin.request('PUT', pathOf(policy).one, { body: policy });
  }

  async #changeLabel(at: number): Promise<void> {
    // Spread over the pods, so that one pod's identity is not renewed more often than it may be.
    const index = (at * 7) % this.#connected;
    const { one } = pathOf(rawPod(index, this.#size));
    const serial = ++this.#serial;
    const receivers = receiversOfPod(index, this.#connected, this.#size);
    const body = { metadata: { labels: { [SERIAL_LABEL]: String(serial) } } };
    this.#tracker.changed(`pod/${nameOf(index, this.#size)}`, serial, receivers, monotonicMs());
    const contentType = 'application/merge-patch+json';
    await this.#place.admin.request('PATCH', one, { body, contentType });
  }

  async #authorityUse(): Promise<ProcessUse> {
    this.#authority.tell({ kind: 'measure' });
    return (await this.#authority.next('measured')).use;
  }

  #bytes(): Map<string, number> {
    const filter = ['-tinH', 'state', 'established', `sport = :${this.#serving.port}`];
    return bytesSent(execFileSync('ss', filter, { encoding: 'utf8', maxBuffer: 64 << 20 }));
  }
}

/** Some at a time, results in order. */
async function inParallel<T, R>(items: readonly T[], make: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await make(items[at]!);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}
