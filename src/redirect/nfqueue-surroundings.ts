import { readFileSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import { queueStatistics } from '../nfqueue/queue-statistics.ts';
import { conntrackFindings } from './conntrack-findings.ts';
import type { Finding } from './finding.ts';
import { foreignMarks, foreignNftMarks, foreignQueues } from './plan-foreign.ts';
import type { NfqueueOptions } from './plan-nfqueue.ts';
import { runTool } from './tool.ts';

/** Looks at what else there is in this network namespace: queues, marks and rules of others, conntrack. Changes nothing. */
export async function nfqueueSurroundings(options: NfqueueOptions): Promise<Finding[]> {
  return [
    ...queues(options),
    ...(await foreignRules(options)),
    ...conntrackFindings((name) => read(`/proc/sys/net/netfilter/nf_conntrack_${name}`)),
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
