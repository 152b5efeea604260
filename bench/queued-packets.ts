import type { Place } from './place.ts';

/** How many packets the queues of a namespace have handed over: /proc/net/netfilter/nfnetlink_queue, its eighth column. */
export function packetsHandedOver(text: string): number {
  return text
    .split('\n')
    .map((line) => Number(line.trim().split(/\s+/)[7] ?? 0))
    .reduce((sum, count) => sum + count, 0);
}

/** The same of some hosts. */
export async function queuedAt({ cluster }: Place, hosts: readonly string[]): Promise<number[]> {
  const file = '/proc/net/netfilter/nfnetlink_queue';
  const ran = await Promise.all(hosts.map((host) => cluster.network.run(host, ['cat', file])));
  return ran.map(({ out }) => packetsHandedOver(out));
}
