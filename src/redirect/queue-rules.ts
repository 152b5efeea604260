import { EXIT, messageOf, UserError } from '../errors.ts';
import { loadAddon } from '../native.ts';
import { dumpAll, ENOENT, nameOf, PROTOCOL, QuerySocket } from '../netlink/query-socket.ts';
import { decodeQueueRule, writeQueueRules, writeRuleDump } from '../netlink/queue-rules.ts';
import { queueChain } from './plan-nft-text.ts';
import type { QueueTarget } from './plan-rules.ts';

/** Puts the rules that send packets to queues into their chains of a table. @throws UserError naming what the kernel has not */
export function addQueueRules(table: string, targets: readonly QueueTarget[]): void {
  const rules = targets.map((target) => ({ chain: queueChain(target), ...target }));
  const socket = opened();
  try {
    const errno = socket.request((writer, sequence) => writeQueueRules(writer, sequence, table, rules));
    if (errno !== 0) throw complaint(errno === ENOENT ? 'no such expression or target' : nameOf(errno));
  } finally {
    socket.close();
  }
}

/** The rules of a table that do nothing but send to queues, a line each, sorted. */
export async function queueRulesOf(table: string): Promise<string[]> {
  const rules = await dumpAll(
    loadAddon(),
    PROTOCOL.netfilter,
    (writer, sequence) => writeRuleDump(writer, sequence, table),
    decodeQueueRule,
  );
  return rules
    .map(({ chain, queue, count }) => `${chain}: target NFQUEUE, ${count} from ${queue}`)
    .toSorted();
}

function opened(): QuerySocket {
  try {
    return new QuerySocket(loadAddon(), PROTOCOL.netfilter);
  } catch (error) {
    throw complaint(messageOf(error));
  }
}

function complaint(said: string): UserError {
  return new UserError(
    `nf_tables: a rule to a queue cannot be set: ${said} (it takes the kernel modules nft_compat and xt_NFQUEUE: load them on the node, or set the rules by --backend iptables)`,
    { exitCode: EXIT.failure },
  );
}
