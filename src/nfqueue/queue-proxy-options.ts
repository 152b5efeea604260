import type { PassUser } from '../proxy/passes.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import type { Marks } from './marks.ts';
import type { PacketPath, PacketPathEvents } from './packet-path.ts';
import type { QueuedFlow } from './queued-flow.ts';

/** What NFQUEUE mode is given, and whom it tells. */
export interface QueueProxyOptions {
  /** @param user who takes what passes have done, where the path has them */
  readonly createPath: (events: PacketPathEvents, user: PassUser) => PacketPath;
  readonly around: Surroundings;
  readonly marks: Marks;
  /** Which run this is, 0 to 15. */
  readonly generation: number;
  /** A path takes no SYN with data, or an own Hello does not fit: that address is called by the stream carrier for a while. */
  readonly onFallback: (address: string, detail: string) => void;
  /** Packets that the kernel could not hand over. */
  readonly onLost: (count: number) => void;
  /** The queues are gone: everything is dropped from here on. */
  readonly onFailed: (error: Error) => void;
  /** A packet whose handling threw: a defect, it is dropped. */
  readonly onDefect: (error: unknown) => void;
  /** Keeps a verified flow for the next run, and forgets it. */
  readonly onVerified?: (flow: QueuedFlow) => void;
  readonly onEnded?: (flow: QueuedFlow) => void;
}
