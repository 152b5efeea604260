/** What a run of the benchmark found. Everything that is printed or written is made from this value alone. */
export interface BenchResult {
  readonly format: 1;
  /** ISO 8601. */
  readonly date: string;
  readonly seconds: number;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly variants: readonly VariantName[];
  readonly samples: readonly Sample[];
  readonly memory: Memory | undefined;
  readonly start: { readonly milliseconds: readonly number[] } | undefined;
  /** Packets that a sidecar of the nfqueue mode took from its queue, per side and connection. */
  readonly queuedPackets: number | undefined;
  /** What did not go as it should; each makes the run end with an error. */
  readonly problems: readonly Problem[];
  /** What was left out for a reason that is no fault, as a mode that this version does not have. */
  readonly notes: readonly string[];
}

export interface Machine {
  readonly cpus: number;
  readonly model: string;
  readonly kernel: string;
  /** What new sockets have: net.ipv4.tcp_congestion_control. */
  readonly congestionControl?: string;
  readonly memoryGb: number;
}

export interface VariantName {
  /** As in samples. */
  readonly id: string;
  /** As in tables. */
  readonly title: string;
}

export interface Problem {
  readonly variant: string;
  readonly text: string;
}

/** `far`: connect + 1 byte on a link with delay. `first`: connect + 1 byte where the two ends know nothing of each other. */
export type LoadKind = 'bulk1' | 'bulk8' | 'ping' | 'connect' | 'rate' | 'far' | 'first';

/** One measurement of one variant. A void one is never among these. */
export interface Sample {
  readonly variant: string;
  readonly kind: LoadKind;
  readonly round: number;
  readonly connections: number;
  readonly bytes: number;
  /** Wall time of the load. */
  readonly seconds: number;
  /** Microseconds: of a connection's first answer, of a round trip. 0 where nothing of the kind was timed. */
  readonly p50: number;
  readonly p99: number;
  /** CPU seconds of the processes in between: user and system time of all their threads. */
  readonly proxyCpu: number;
  /** The same of the load and the application too. */
  readonly allCpu: number;
  /** CPUs that somebody else used meanwhile. */
  readonly foreignCpus: number;
}

/** Of one sidecar; bytes. */
export interface Memory {
  readonly resident: number;
  readonly proportional: number;
  readonly privateDirty: number;
  readonly connections: number;
  /** Growth of private dirty memory by a connection at rest, in the sidecar of the client and of the server. */
  readonly perConnection: { readonly client: number; readonly server: number };
}

/** A neighbour that uses less than this leaves a sample quiet. CPUs. */
export const QUIET_CPUS = 0.15;

export function isQuiet(sample: Sample): boolean {
  return sample.foreignCpus < QUIET_CPUS;
}
