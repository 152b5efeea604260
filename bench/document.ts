import type { BenchResult } from './result.ts';
import {
  asMarkdown,
  asText,
  farTable,
  firstContactTable,
  mainTable,
  memoryTable,
  quietLine,
  ratioTable,
  type Table,
  targetsTable,
} from './tables.ts';
import { targetRows } from './targets.ts';

const hasRows = (table: Table): boolean => table.length > 1;

/** What `make bench` prints at its end. */
export function terminalReport(result: BenchResult): string {
  const section = (title: string, table: Table): string =>
    hasRows(table) ? `${title}\n\n${asText(table)}\n\n` : '';
  const open = targetRows(result);
  const count = (verdict: string): number => open.filter((row) => row.verdict === verdict).length;
  return [
    section('Two proxy hops; median [least..most]; ~: no quiet round', mainTable(result)),
    section('The same, times direct', ratioTable(result, 'direct')),
    section('First contact after a pause', firstContactTable(result)),
    section('Link with 10 ms delay each way', farTable(result)),
    section('Memory and start', memoryTable(result)),
    section('Targets', targetsTable(result)),
    `${count('met')} targets met, ${count('missed')} missed, ${count('open')} open. ${quietLine(result)}.\n`,
    ...result.notes.map((note) => `left out: ${note}\n`),
    ...result.problems.map(({ variant, text }) => `PROBLEM  ${variant}: ${text}\n`),
  ].join('');
}

/** docs/performance.md, from a result alone. */
export function performancePage(result: BenchResult): string {
  const { machine, versions } = result;
  const rows = targetRows(result);
  const missed = rows.filter(({ verdict }) => verdict === 'missed');
  const open = rows.filter(({ verdict }) => verdict === 'open');
  const section = (title: string, text: string, table: Table): string[] =>
    hasRows(table) ? [`## ${title}`, text, asMarkdown(table)] : [];
  const parts = [
    '# Performance',
    '<!-- Written by `make bench BENCH=--write-docs`; do not edit. -->',
    `What two sidecars cost on every connection, with mutual proven identity and policy, beside nothing and beside others. Measured on
${result.date.slice(0, 10)} by \`make bench\` in ${Math.round(result.seconds / 60)} minutes${result.quick ? ' (`QUICK=1`: few and short samples)' : ''}. ${quietLine(result)}.`,
    asMarkdown([
      ['machine', ''],
      ['CPU', `${machine.cpus} x ${machine.model}`],
      ['memory', `${machine.memoryGb} GB`],
      ['kernel', machine.kernel],
      ['TCP congestion control', machine.congestionControl ?? 'not recorded'],
      ...Object.entries(versions).map(([name, version]) => [name, version]),
    ]),
    '![Bars of the main figures](performance.svg)',
    ...section(
      'Two proxy hops',
      'Median [least..most] of the rounds. `~` marks wall times of which no round was quiet.',
      mainTable(result),
    ),
    ...section(
      'The same as ratios to direct',
      `Each ratio is of the same round; the table has their medians. In NFQUEUE mode the packets of an open connection are the kernel's alone, and what is left is less
than one round differs from the next: for bulk and ping-pong direct and nfqueue have rounds more, right behind each other.`,
      ratioTable(result, 'direct'),
    ),
    ...section(
      'First contact after a pause',
      `The rows "first contact each time" above are pairs of sidecars that find nothing again that they remembered, in processes that have been there for a while; they
compare with HAProxy without sessions and tickets. Here both ends get new keys and tokens that the other has never seen, and then one connection after a pause, as first
contacts come: code and caches are cold on either side.`,
      firstContactTable(result),
    ),
    ...section(
      'A link with 10 ms delay each way',
      `Connect and one byte. In redirect mode identity costs one round trip, which is what a cluster gets by default. TCP Fast Open removes it, where an administrator
sets \`net.ipv4.tcp_fastopen=3\` in the pods that accept, for an endpoint that has been called before.`,
      farTable(result),
    ),
    ...section(
      'Memory and start',
      'A sidecar as `make bundle` makes it, with the files source. The text pages of Node.js are shared by the sidecars of a node.',
      memoryTable(result),
    ),
    '## Targets',
    asMarkdown(targetsTable(result)),
    '## Where Countersign loses',
    missed.length === 0
      ? 'No target was missed in this run.'
      : missed
          .map(
            ({ what, target, measured, stretch }) =>
              `- ${what}${stretch ? ' (stretch goal)' : ''}: ${measured}, promised ${target}.`,
          )
          .join('\n'),
    ...(open.length === 0
      ? []
      : ['Not judged in this run:', open.map(({ what, measured }) => `- ${what}: ${measured}.`).join('\n')]),
    `Beyond the targets: direct traffic is faster in every column, since two proxies make three TCP connections out of one. A Service address costs as many full
handshakes as it has endpoints. The memory of a sidecar is several times that of HAProxy or nginx, most of it Node.js itself.`,
    '## Method',
    METHOD,
    ...(result.notes.length === 0 ? [] : ['Left out:', result.notes.map((note) => `- ${note}`).join('\n')]),
    ...(result.problems.length === 0
      ? []
      : [
          'Went wrong:',
          result.problems.map(({ variant, text }) => `- ${variant}: ${oneLine(text)}`).join('\n'),
        ]),
  ];
  return `${parts.join('\n\n')}\n`;
}

const METHOD = `- Network namespaces on one bridge, connection tracking on everywhere. The load's connection is redirected to the first proxy, whose connection to the server's
  address is redirected to the second proxy there, which calls the application. Every proxy has one data thread. \`direct\` has connection tracking, nat and no proxy.
- One load program for all (\`bench/load.c\`), which is also the application: echo and sink. Its own CPU is in \`of all\`.
- The bare splice relay (\`bench/bare-relay.c\`) is the least that a relay in user space can be, and so the limit of this machine for the others; no product.
- Every proxy's connections have the system's congestion control, but for those of the bare relay, which go by Reno, and those of sidecars whose peer is near
  where the system's is BBR (\`docs/decisions/0047-near-legs-are-not-paced.md\`). The load's and the application's sockets have the system's everywhere.
- All variants in turn, round by round, in an order that shifts by one each round; ratios are taken within a round.
- A sample with sidecars is void unless \`countersign_connections_total{peer="proven",verdict="allow"}\` has grown by exactly the number of its connections at the client's
  sidecar and at the servers', and nothing else was counted. A void sample is a problem, and the run ends with an error.
- \`proxy CPU\`: user and system time of the proxies' processes, all threads (\`schedstat\`). What the kernel does for packets in soft interrupts is charged to whoever runs at that
  moment, or to nobody; it is in no proxy's column by itself.
- \`CPU second of all\`: the proxies, the load and the application.
- Wall times depend on neighbours. A sample is quiet when others used less than 0.15 of a CPU meanwhile (\`/proc/stat\` less our own processes); of wall times quiet
  samples alone count. CPU times and the delayed link take all samples.
- The delayed link is a pair of TUN devices and a program in between (\`test/support/impaired-link.c\`), which adds little beside its delay.
- Sidecars run with their default settings and the flags of Node.js that an injected container has, without a flow log, from the bundle; a default-deny policy in both directions and a rule for the load at each end.`;

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').slice(0, 300);
}
