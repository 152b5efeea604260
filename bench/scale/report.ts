import { digits } from '../statistics.ts';
import { asMarkdown, asText, type Table } from '../tables.ts';
import { demandAt, fit } from './extrapolate.ts';
import { isIssuing } from './requests.ts';
import type { ScaleResult, ScaleWindow } from './result.ts';

const mega = (bytes: number): string => `${digits(bytes / 1e6)} MB`;

/** What `make bench-authority` prints at its end. */
export function scaleReport(result: ScaleResult): string {
  const parts: [string, Table][] = [
    ['Requests of the authority to the API server', requestsTable(result)],
    ['From the request that changes something to the sidecar that has it', latencyTable(result)],
    ['CPU of the authority and bytes to sidecars', costTable(result)],
    ['Memory', memoryTable(result)],
    ['Extrapolation', extrapolationTable(result)],
  ];
  return parts.map(([title, table]) => `${title}\n\n${asText(table)}\n\n`).join('');
}

function requestsTable({ windows }: ScaleResult): Table {
  return [
    ['sidecars', 'changes', 'seconds', 'shared by all', 'for identities'],
    ...windows
      .filter(({ pods }) => pods === windows.at(-1)!.pods)
      .map(({ load, sidecars, seconds, changes, requests }) => [
        String(sidecars),
        changes === 0 ? load : `${changes} ${load}`,
        digits(seconds),
        kinds(requests.shared, requests.byKind, false),
        kinds(requests.issuing, requests.byKind, true),
      ]),
  ];
}

function kinds(count: number, byKind: Readonly<Record<string, number>>, issuing: boolean): string {
  if (count === 0) return '0';
  const wanted = Object.entries(byKind).filter(([kind]) => isIssuing(kind) === issuing);
  return `${count} (${wanted.map(([kind, times]) => `${times} ${kind}`).join(', ')})`;
}

function latencyTable({ windows }: ScaleResult): Table {
  const ms = (value: number): string => `${digits(value)} ms`;
  return [
    ['change', 'sidecars', 'arrivals', 'p50', 'p99', 'slowest', 'missed'],
    ...windows.flatMap(({ load, sidecars, pods, latency, missing }) =>
      latency === undefined
        ? []
        : [
            [
              `${load}, ${pods} pods`,
              String(sidecars),
              String(latency.count),
              ms(latency.p50),
              ms(latency.p99),
              ms(latency.max),
              String(missing),
            ],
          ],
    ),
  ];
}

function lateText({ windows }: ScaleResult): string {
  const late = windows.filter(({ latency }) => latency !== undefined && latency.p99 > 1_000);
  if (late.length === 0) return 'The target was met in every row.';
  const rows = late.map(({ load, sidecars }) => `${load} with ${sidecars} sidecars`);
  return `The target was missed in this run by: ${rows.join('; ')}. API server, etcd, authority, all sidecars and other people's work shared the CPUs.`;
}

function costTable({ windows }: ScaleResult): Table {
  return [
    ['load', 'pods', 'sidecars', 'changes/s', 'share of a CPU', 'CPU per change', 'bytes per change'],
    ...windows.map((one) => {
      const { load, pods, sidecars, changes, seconds, cpu } = one;
      const each = changes === 0 ? undefined : changes;
      const bytes = each === undefined ? undefined : (one.bytes - idleBytes(windows, one)) / each;
      return [
        load,
        String(pods),
        String(sidecars),
        digits(changes / seconds),
        `${digits((100 * cpu) / seconds)} %`,
        each === undefined ? '' : `${digits((1000 * cpu) / each)} ms`,
        bytes === undefined ? '' : digits(Math.max(0, bytes)),
      ];
    }),
  ];
}

/** What the same sidecars are sent in the same time when nothing changes. */
function idleBytes(windows: readonly ScaleWindow[], of: ScaleWindow): number {
  const idle = windows.find(({ load, sidecars }) => load === 'none' && sidecars === of.sidecars);
  return idle === undefined ? 0 : (idle.bytes / idle.seconds) * of.seconds;
}

function memoryTable({ held }: ScaleResult): Table {
  return [
    [
      'pods',
      'sidecars',
      'authority: resident',
      'heap',
      'external',
      'heap of one sidecar process, per sidecar',
    ],
    ...held.map(({ pods, sidecars, authority, first, firstCount }) => [
      String(pods),
      String(sidecars),
      mega(authority.resident),
      mega(authority.heap),
      mega(authority.external),
      `${digits(first.heap / firstCount / 1e3)} kB`,
    ]),
  ];
}

function extrapolationTable(result: ScaleResult): Table {
  const model = fit(result);
  const rows = [result.size.pods, 5_000, 20_000].map((pods) => {
    const demand = demandAt(model, pods, pods);
    return [
      digits(pods),
      mega(demand.memory),
      `${digits(demand.idleCpu * 100)} %`,
      `${digits(demand.changeCpu * 1000)} ms`,
      `${digits((demand.idleCpu + 10 * demand.changeCpu) * 100)} %`,
      `${digits(demand.issuingPerSecond)}/s`,
    ];
  });
  return [
    [
      'pods, each with a sidecar',
      'resident memory',
      'CPU, nothing changes',
      'CPU per change',
      'CPU at 10 changes/s',
      'requests for identities',
    ],
    ...rows,
  ];
}

/** docs/sizing.md, from a result alone. */
export function sizingPage(result: ScaleResult): string {
  const { machine, versions, size } = result;
  const model = fit(result);
  const parts = [
    '# Sizing the authority',
    '<!-- Written by `make bench-authority BENCH=--write-docs`; do not edit. -->',
    `What one replica of the authority needs, and what it asks of the API server: ${size.sidecars} simulated sidecars, ${size.pods} pods and
${size.policies} policies in ${size.namespaces} namespaces on a real kube-apiserver and etcd, measured on ${result.date.slice(0, 10)} by \`make bench-authority\` in
${Math.round(result.seconds / 60)} minutes. Others used the machine meanwhile (load average ${digits(result.loadAverage)} at the end, of which this run is a part): CPU times are
usable, times to arrival are worse than on a machine of one's own.`,
    asMarkdown([
      ['machine', ''],
      ['CPU', `${machine.cpus} x ${machine.model}`],
      ['memory', `${machine.memoryGb} GB`],
      ['kernel', machine.kernel],
      ...Object.entries(versions).map(([name, version]) => [name, version]),
    ]),
    '## Requests to the API server',
    `From the audit log, by the authority's account. What serves all sidecars is one watch per kind of object, and a look at its own Secrets from time to time, whoever is connected. Identities are the one thing that is
asked for per sidecar; in the rows of label changes every change gives a pod a new identity.`,
    asMarkdown(requestsTable(result)),
    IDENTITIES,
    '## From a change to the sidecars',
    `From before the request that changes the object, until the sidecar's source has a snapshot with it; every sidecar that it concerns counts. A policy concerns the sidecars
of its namespace here, a label that of its pod and the sidecars that talk to it. Target: 1 s at p99.`,
    asMarkdown(latencyTable(result)),
    lateText(result),
    '## CPU and bytes',
    `Bytes are those of the TCP connections (\`ss -ti\`), with TLS and HTTP/2, less what is sent anyway: a line in five seconds to each sidecar. \`all namespaces at once\`:
each change is counted by itself, ${size.namespaces} come together.`,
    asMarkdown(costTable(result)),
    '## Memory',
    `Per 1,000 pods the authority's memory grows by ${mega(model.memoryPerPod * 1000)}: the larger of what resident memory grew by and what is left after a collection. Per connected sidecar resident memory grows by
${digits(model.memoryPerSidecar / 1e3)} kB, garbage included. The last column is a process with
${result.held[0]!.firstCount} sidecars' links and nothing else, so it holds the program's own share too: it does not grow with the cluster.`,
    asMarkdown(memoryTable(result)),
    '## Extrapolation',
    asMarkdown(extrapolationTable(result)),
    ASSUMPTIONS,
    '## Method',
    METHOD,
  ];
  return `${parts.join('\n\n')}\n`;
}

const IDENTITIES = `A sidecar renews its identity every 18 to 20 minutes: one TokenReview (its answer is kept for ten minutes), one read of its pod and at most one of the record of its key, **some 9.5 requests per sidecar and
hour**. A new pod costs one of each and a share of a write of the records of keys. What comes within 50 ms is read and written together, in 16 ConfigMaps. The pod is read, not taken from the watch: the
container's image and restarts are not kept for all pods, and a watch may lag behind by its silence, while what is signed lives for hours.`;

const ASSUMPTIONS = `Linear in the pods and in the sidecars, from the rows above: memory in both; CPU per change as a part for its pods, which the measurement tells from nothing or not, and one for each
sidecar that it reaches, as many as here; idle CPU by the lines to sidecars. Every pod has a sidecar, all on one replica; several replicas share sidecars, and each of them pays for the
pods. One replica takes 10,000 connections, so 20,000 sidecars need three, of which one may be away. Not covered: namespaces with thousands of pods under one policy, whose every change reaches all of them; a record of a key is 100 bytes and stays for 25
hours after its pod, and a ConfigMap holds 1 MiB, so that more than 160,000 pods a day do not fit.`;

const METHOD = `- \`bench/authority-scale.ts\`. etcd and kube-apiserver run beside authority and sidecars; etcd does not sync its disk. No controllers: pods are made by the benchmark, with addresses
  in their status, and never change by themselves. The authority's account has the rights of \`countersign install\`.
- Sidecars are the real client (\`src/authority-client\`) without the proxy, many in a process, each with a token by TokenRequest, a key, a TLS connection and a loopback address of its own;
  each asks about nine other pods.
- CPU and memory are those of the authority's process. A collection before each reading of the heap is not counted as CPU; resident memory is read before it.
- Requests are entries of the audit log, a watch counted once. A watch lasts five to ten minutes: some are opened anew in any measurement.
- Arrival needs CPUs that are free: a run beside a compiler and a linter on the same two had 1.2 s at p99 for policies with 500 sidecars, and 0.15 s with 200.`;
