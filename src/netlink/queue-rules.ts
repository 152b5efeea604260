import { AttributeReader } from './attributes.ts';
import { FLAG, type Message } from './message.ts';
import type { MessageWriter } from './message-writer.ts';

/**
 * Rules of nf_tables with the target NFQUEUE of x_tables (`linux/netfilter/nf_tables.h`, `nf_tables_compat.h`, `xt_NFQUEUE.h`). nft's own statement `queue` needs
 * CONFIG_NFT_QUEUE, which not every kernel has, and nft can write no other; the kernel's nft_compat takes targets of iptables in any table.
 */
const SUBSYSTEM = 10;
const MESSAGE = { newRule: (SUBSYSTEM << 8) | 6, getRule: (SUBSYSTEM << 8) | 7 } as const;
/** `linux/netfilter/nfnetlink.h`: all between the two happens, or nothing. */
const BATCH = { begin: 16, end: 17 } as const;
const INET = 1;
const RULE = { table: 1, chain: 2, expressions: 4 } as const;
const LIST_ELEMENT = 1;
const EXPRESSION = { name: 1, data: 2 } as const;
const TARGET = { name: 1, revision: 2, info: 3 } as const;
/** Queue, count and flags, 16 bits each in the order of this machine, filled up to eight bytes. None of the flags is set: no bypass, no choice by CPU. */
const REVISION = 3;
const INFO_WORDS = 4;

/** A rule that sends all packets of its chain to queues. */
export interface QueueRule {
  readonly chain: string;
  readonly queue: number;
  readonly count: number;
}

/** Puts rules at the heads of chains of an inet table, all or none. All messages bear one number, so that the first answer is the whole's. */
export function writeQueueRules(
  writer: MessageWriter,
  sequence: number,
  table: string,
  rules: readonly QueueRule[],
): void {
  writer.begin(BATCH.begin, FLAG.request, sequence).netfilter(0, SUBSYSTEM).end();
  rules.forEach(({ chain, queue, count }, at) => {
    const acknowledged = at === rules.length - 1 ? FLAG.ack : 0;
    writer.begin(MESSAGE.newRule, FLAG.request | FLAG.create | acknowledged, sequence).netfilter(INET);
    writer.bytes(RULE.table, named(table)).bytes(RULE.chain, named(chain));
    writer.nested(RULE.expressions, (list) =>
      list.nested(LIST_ELEMENT, (expression) =>
        expression.bytes(EXPRESSION.name, named('target')).nested(EXPRESSION.data, (target) =>
          target
            .bytes(TARGET.name, named('NFQUEUE'))
            .u32(TARGET.revision, REVISION)
            .bytes(TARGET.info, new Uint8Array(Uint16Array.of(queue, count, 0, 0).buffer)),
        ),
      ),
    );
    writer.end();
  });
  writer.begin(BATCH.end, FLAG.request, sequence).netfilter(0, SUBSYSTEM).end();
}

/** Asks for all rules of an inet table. */
export function writeRuleDump(writer: MessageWriter, sequence: number, table: string): void {
  writer.begin(MESSAGE.getRule, FLAG.request | FLAG.dump, sequence).netfilter(INET);
  writer.bytes(RULE.table, named(table)).end();
}

/** A rule of a dump, where it sends to queues without a condition and by no flag. */
export function decodeQueueRule({ type, bytes, start, end }: Message): QueueRule | undefined {
  if (type !== MESSAGE.newRule) return undefined;
  let chain = '';
  let target: Omit<QueueRule, 'chain'> | undefined;
  let expressions = 0;
  // Behind the header of netfilter, which has four bytes.
  const rule = new AttributeReader(bytes, start + 4, end);
  while (rule.next()) {
    if (rule.type === RULE.chain) chain = textOf(rule.bytes());
    if (rule.type !== RULE.expressions) continue;
    for (const list = rule.nested(); list.next(); expressions++) target ??= targetOf(list.nested());
  }
  return target === undefined || expressions !== 1 ? undefined : { chain, ...target };
}

function targetOf(expression: AttributeReader): Omit<QueueRule, 'chain'> | undefined {
  let [isTarget, name, revision] = [false, '', 0];
  let words = new Uint16Array();
  while (expression.next()) {
    if (expression.type === EXPRESSION.name) isTarget = textOf(expression.bytes()) === 'target';
    if (expression.type !== EXPRESSION.data) continue;
    for (const data = expression.nested(); data.next();) {
      if (data.type === TARGET.name) name = textOf(data.bytes());
      if (data.type === TARGET.revision) revision = data.u32() ?? 0;
      if (data.type === TARGET.info && data.length === INFO_WORDS * 2)
        words = new Uint16Array(data.bytes().slice().buffer);
    }
  }
  const [queue, count, flags] = words;
  if (!isTarget || name !== 'NFQUEUE' || revision !== REVISION || flags !== 0) return undefined;
  return { queue: queue!, count: count! };
}

/** Names end with a zero byte. */
function named(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replace(/\0.*$/s, '');
}
