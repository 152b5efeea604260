import { readFileSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import { queueStatistics } from '../nfqueue/queue-statistics.ts';
import { foreignMarks, foreignNftMarks, foreignQueues } from './plan-foreign.ts';
import type { NfqueueOptions } from './plan-nfqueue.ts';
import { runTool } from './tool.ts';

/** Something that NFQUEUE mode depends on beside its own rules. `problem`: it does not work so; `note`: to be known. */
export interface Finding {
  readonly level: 'ok' | 'note' | 'problem';
  readonly what: string;
}

/** Looks at what else there is in this network namespace: queues, marks and rules of others, conntrack. Changes nothing. */
export async function nfqueueSurroundings(options: NfqueueOptions): Promise<Finding[]> {
  return [
    ...queues(options),
    ...(await foreignRules(options)),
    ...conntrack(),
    {
      level: 'note',
      what: 'only TCP is judged: UDP, SCTP, ICMP and other protocols pass as the network lets them',
    },
  ];
}

function queues({ queues: { first, count } }: NfqueueOptions): Finding[] {
  const text = read('/proc/net/netfilter/nfnetlink_queue');
  if (text === undefined) {
    const what =
      'this kernel has no queues: load the module nfnetlink_queue on the node (modprobe nfnetlink_queue)';
    return [{ level: 'problem', what }];
  }
  const bound = queueStatistics(text);
  return Array.from({ length: count }, (_, index) => first + index).map((number) => {
    const one = bound.find(({ queue }) => queue === number);
    if (one === undefined) {
      const what = `queue ${number} has no listener: new connections are dropped until the proxy runs (--mode nfqueue)`;
      return { level: 'note', what };
    }
    const dropped = one.queueDropped + one.userDropped;
    const who = read(`/proc/${one.port}/comm`)?.trim();
    const by = who === undefined ? `netlink port ${one.port}` : `process ${one.port} (${who})`;
    return {
      level: 'ok',
      what: `queue ${number} is bound by ${by}; ${one.waiting} wait, ${dropped} were dropped`,
    };
  });
}

async function foreignRules({ marks, queues: range }: NfqueueOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (const tool of ['iptables', 'ip6tables'].flatMap((name) => [name, `${name}-nft`, `${name}-legacy`])) {
    const saved = await textOf([`${tool}-save`]);
    for (const [lines, why] of [
      [
        foreignMarks(saved, marks.mask),
        `writes into the bits 0x${marks.mask.toString(16)} of a mark: choose others with --mark-mask, here and for the proxy`,
      ],
      [
        foreignQueues(saved, range),
        'sends packets into a queue of the proxy: choose others with --first-queue, here and for the proxy',
      ],
    ] as const) {
      for (const line of lines) {
        const key = `${tool.startsWith('ip6')} ${line}`;
        if (!seen.has(key))
          findings.push({ level: 'problem', what: `a rule of another program ${why}: ${line}` });
        seen.add(key);
      }
    }
  }
  for (const line of foreignNftMarks(await textOf(['nft', 'list', 'ruleset']))) {
    const what = `a rule of another program sets a mark; the bits 0x${marks.mask.toString(16)} must not be among it: ${line}`;
    findings.push({ level: 'note', what });
  }
  return findings.length > 0
    ? findings
    : [{ level: 'ok', what: 'no rule of others touches our marks and queues' }];
}

/** Settings of the network namespace. None has to be changed; what each means for this mode is said. */
function conntrack(): Finding[] {
  const setting = (name: string): number | undefined => {
    const text = read(`/proc/sys/net/netfilter/nf_conntrack_${name}`);
    return text === undefined ? undefined : Number(text);
  };
  const [max, count] = [setting('max'), setting('count')];
  if (count === undefined) {
    const what =
      'connections are not tracked here: load the module nf_conntrack on the node (modprobe nf_conntrack)';
    return [{ level: 'problem', what }];
  }
  const full = max !== undefined && max > 0 && count > max * 0.9;
  return [
    full
      ? {
          level: 'problem',
          what: `conntrack is nearly full (${count} of ${max}): raise net.netfilter.nf_conntrack_max`,
        }
      : { level: 'ok', what: `conntrack has room (${count} of ${max})` },
    {
      level: 'ok',
      what: `nf_conntrack_tcp_be_liberal=${setting('tcp_be_liberal')}: either will do, verified connections are made liberal one by one`,
    },
    {
      level: 'ok',
      what: `nf_conntrack_tcp_loose=${setting('tcp_loose')}: either will do, a connection that was picked up in the middle is not verified`,
    },
    setting('acct') === 1
      ? { level: 'ok', what: 'nf_conntrack_acct=1: records of connections say how many bytes went' }
      : {
          level: 'note',
          what: 'nf_conntrack_acct=0: records of connections say nothing of bytes; set net.netfilter.nf_conntrack_acct=1 to have them',
        },
  ];
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** What a tool prints; nothing where it is not installed, or cannot work. */
async function textOf(command: readonly string[]): Promise<string> {
  try {
    return await runTool(command);
  } catch (error) {
    return `# ${messageOf(error)}`;
  }
}
