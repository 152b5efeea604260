import type { QueueStatistics } from './packet-path.ts';

/** One line of the kernel's table of queues, and the netlink port of who bound it. */
export interface QueueLine extends QueueStatistics {
  readonly port: number;
}

/** Reads /proc/net/netfilter/nfnetlink_queue: number, port, waiting, copy mode, copied bytes, dropped by the queue and by the socket, last number. */
export function queueStatistics(text: string): QueueLine[] {
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((fields) => fields.length >= 8 && fields.every((field) => Number.isSafeInteger(field)))
    .map((fields) => ({
      queue: fields[0]!,
      port: fields[1]!,
      waiting: fields[2]!,
      queueDropped: fields[5]!,
      userDropped: fields[6]!,
    }));
}
