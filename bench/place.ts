import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, PROXY_UID } from '../test/support/sidecars.ts';
import { compile } from './load-program.ts';

const PATIENCE_MS = 30_000;

/** Where the benchmark happens: namespaces on one bridge, the load program, a folder; all gone at the end. */
export class Place {
  readonly cluster: Cluster;
  readonly folder: string;
  /** A folder of the proxies' own user. */
  readonly writable: string;
  readonly load: string;
  readonly #ends: (() => void)[] = [];

  constructor() {
    this.cluster = new Cluster({ teardown: (end: () => void) => this.#ends.push(end) });
    this.folder = this.cluster.folder;
    this.writable = join(this.folder, 'proxies');
    mkdirSync(this.writable);
    chownSync(this.writable, PROXY_UID, PROXY_UID);
    this.load = compile('load', this.folder);
  }

  /** Makes room for many short connections: without it what is left of the earlier ones would slow the later ones down. */
  quieten(host: string): void {
    const { network } = this.cluster;
    network.sysctl(host, 'net.ipv4.ip_local_port_range', '16384 65535');
    network.sysctl(host, 'net.ipv4.tcp_max_tw_buckets', '500');
    network.sysctl(host, 'net.netfilter.nf_conntrack_tcp_timeout_time_wait', '1');
    network.sysctl(host, 'net.netfilter.nf_conntrack_tcp_timeout_close', '1');
  }

  /** Gives another device of a host the host's own address, when it has none. */
  async address(host: string, device: string): Promise<void> {
    const { four } = this.cluster.addresses.get(host)!;
    const { out } = await this.cluster.network.run(host, ['ip', '-4', 'addr', 'show', 'dev', device]);
    if (out.includes(four)) return;
    await this.cluster.network.run(host, ['ip', 'addr', 'add', `${four}/32`, 'dev', device]);
  }

  /** Starts the application. @returns its process id */
  async serve(host: string, port: number): Promise<number> {
    const child = this.cluster.network.start(host, [this.load, 'serve', String(port)]);
    child.stderr!.resume();
    await new Promise<void>((resolve, reject) => {
      child.stdout!.once('data', () => resolve());
      child.once('close', () => reject(new Error(`the application of ${host} ended`)));
    });
    return child.pid!;
  }

  /** Waits until somebody listens. */
  async listening(host: string, address: string, port: number): Promise<void> {
    const filter = ['src', `${address}:${port}`];
    for (const deadline = Date.now() + PATIENCE_MS; ;) {
      const { out } = await this.cluster.network.run(host, ['ss', '-Hltn', ...filter]);
      if (out.trim() !== '') return;
      if (Date.now() > deadline) throw new Error(`nobody listens at ${address} port ${port} in ${host}`);
      await sleep(20);
    }
  }

  close(): void {
    for (const end of this.#ends.splice(0).toReversed()) end();
  }
}
