import { CHAIN_PREFIX } from './plan-iptables.ts';
import { NFT_TABLE } from './plan-nft.ts';

/**
 * Rules of others, in the text of `iptables-save`, that write into our bits of a mark. A rule that only reads them does no harm to us.
 * @returns such lines, with their table
 */
export function foreignMarks(saved: string, mask: number): string[] {
  return foreignLines(saved).filter((line) => {
    const set = /-j (?:CONN)?MARK --set-x?mark 0x([0-9a-f]+)(?:\/0x([0-9a-f]+))?/.exec(line);
    if (set !== null) return overlaps(Number.parseInt(set[2] ?? 'ffffffff', 16), mask);
    const [, of] = /-j CONNMARK --(?:restore|save)-mark(.*)/.exec(line) ?? [];
    if (of === undefined) return false;
    // What is copied from one mark to the other, and what of the other is cleared before: both masks are everything where none is written.
    const written = [...of.matchAll(/--(?:nf|ct)?mask 0x([0-9a-f]+)/g)].map(([, bits]) =>
      Number.parseInt(bits!, 16),
    );
    return written.length === 0 || written.some((bits) => overlaps(bits, mask));
  });
}

/** Rules of others that send packets into our queues. */
export function foreignQueues(
  saved: string,
  queues: { readonly first: number; readonly count: number },
): string[] {
  const last = queues.first + queues.count - 1;
  return foreignLines(saved).filter((line) => {
    const [, from, to] = /-j NFQUEUE --queue-(?:num|balance) (\d+)(?::(\d+))?/.exec(line) ?? [];
    return from !== undefined && Number(from) <= last && Number(to ?? from) >= queues.first;
  });
}

/**
 * Statements of others, in the text of `nft list ruleset`, that set a mark. nft writes masks as arithmetic in many forms: whether our bits are
 * among it is for a reader to decide, so that what is found is a note.
 */
export function foreignNftMarks(listing: string): string[] {
  let table = '';
  return listing
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => {
      const opened = /^table \S+ (\S+) \{/.exec(line)?.[1];
      if (opened !== undefined) table = opened;
      // What iptables-nft has set is in the text of iptables-save too.
      const ours = table === NFT_TABLE || /^(raw|mangle|nat|filter)$/.test(table);
      return !ours && /\b(?:ct|meta) mark set\b/.test(line);
    });
}

/** The rules of a text of `iptables-save` in chains that are not ours, each behind its table. */
function foreignLines(saved: string): string[] {
  let table = '';
  return saved.split('\n').flatMap((line) => {
    if (line.startsWith('*')) table = line.slice(1);
    return line.startsWith('-A ') && !line.startsWith(`-A ${CHAIN_PREFIX}`) ? [`${table}: ${line}`] : [];
  });
}

function overlaps(one: number, other: number): boolean {
  return (one & other) !== 0;
}
