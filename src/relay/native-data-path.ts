import { EXIT, UserError } from '../errors.ts';
import { canonicalAddress, type Endpoint, formatEndpoint } from '../lib/address.ts';
import {
  CAUSES,
  COMMAND,
  EVENT,
  type NativeAddon,
  type NativeDataPath as Handle,
  type NativeEvent,
  type RawEndpoint,
  REFUSALS,
  ROLES,
  SIDES,
  SYN_DATA,
} from '../native.ts';
import type {
  ConnectionId,
  DataPath,
  DataPathEvents,
  DialOptions,
  Listener,
  ListenOptions,
  RelayOptions,
  Side,
} from './data-path.ts';
import type { ConnectionLimit } from './connection-limit.ts';
import { type LimitAddon, NativeConnectionLimit } from './native-connection-limit.ts';
import { NativeResumption, type ResumptionAddon, readReports } from './native-resumption.ts';
import type { Begun, Resumption } from './resumption.ts';

/** The functions of the addon that are called here. */
export type DataPathAddon = ResumptionAddon &
  LimitAddon &
  Pick<
    NativeAddon,
    'start' | 'deliver' | 'listen' | 'dial' | 'command' | 'wake' | 'progress' | 'pipesRefused'
  >;

/** The data path of native/: one thread that moves bytes with recv, send and splice. */
export class NativeDataPath implements DataPath {
  readonly resumption: Resumption;
  readonly limit: ConnectionLimit;
  readonly #addon: DataPathAddon;
  readonly #events: DataPathEvents;
  readonly #handle: Handle;
  readonly #stopped: Promise<void>;
  #onStopped: () => void = () => {};
  #closing = false;
  #hasStopped = false;
  #delivers = false;
  #wakes = false;

  constructor(addon: DataPathAddon, events: DataPathEvents) {
    this.#addon = addon;
    this.#events = events;
    this.#stopped = new Promise((resolve) => {
      this.#onStopped = resolve;
    });
    this.#handle = addon.start((batch, reports, more) => {
      if (more) this.#deliverSoon();
      // First: what an event leads to may take newer reports.
      if (reports !== undefined) readReports(reports, events);
      for (const event of batch) this.#report(event);
      if (batch.some(([type]) => type === EVENT.stopped)) {
        this.#hasStopped = true;
        this.#onStopped();
      }
    });
    this.limit = new NativeConnectionLimit(addon, this.#handle, () => this.#closing);
    this.resumption = new NativeResumption(addon, this.#handle, events, () => this.#closing);
  }

  // eslint-disable-next-line typescript/require-await -- a failure has to reject, not to throw
  async listen(options: ListenOptions): Promise<Listener> {
    const { address, port, role } = options;
    try {
      const [listener, bound] = this.#addon.listen(this.#handle, address, port, ROLES.indexOf(role));
      return {
        endpoint: { address, port: bound },
        close: () => this.#command(COMMAND.unlisten, listener),
      };
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      throw new UserError(`cannot listen on ${formatEndpoint({ address, port })}: ${code}`, {
        exitCode: EXIT.failure,
        cause: error,
      });
    }
  }

  readFrame(id: ConnectionId, side: Side, maxBytes: number): void {
    this.#command(COMMAND.readFrame, id, side, false, maxBytes);
  }

  send(id: ConnectionId, side: Side, bytes: Uint8Array): void {
    this.#command(COMMAND.send, id, side, false, 0, bytes);
  }

  dial(id: ConnectionId, target: Endpoint, options: DialOptions): void {
    if (this.#closing) return;
    const { fastOpen, first, synData = true, source } = options;
    const { address, port } = target;
    const from = [source?.address, source?.port ?? 0] as const;
    this.#addon.dial(this.#handle, id, address, port, fastOpen, first, synData, ...from);
    this.#wakeSoon();
  }

  relay(id: ConnectionId, options: RelayOptions): void {
    this.#command(COMMAND.relay, id, 'client', options.guard, options.verdictFrame ?? 0);
  }

  release(id: ConnectionId): void {
    this.#command(COMMAND.release, id);
  }

  dropUpstream(id: ConnectionId): void {
    this.#command(COMMAND.dropUpstream, id);
  }

  reset(id: ConnectionId): void {
    this.#command(COMMAND.reset, id);
  }

  progress(id: ConnectionId): { bytesIn: number; bytesOut: number } | undefined {
    if (this.#closing) return undefined;
    const bytes = this.#addon.progress(this.#handle, id);
    return bytes && { bytesIn: bytes[0], bytesOut: bytes[1] };
  }

  get pipesRefused(): number {
    return this.#closing ? 0 : this.#addon.pipesRefused(this.#handle);
  }

  close(): Promise<void> {
    if (!this.#closing) this.#command(COMMAND.stop, 0);
    this.#closing = true;
    return this.#stopped;
  }

  #command(
    type: (typeof COMMAND)[keyof typeof COMMAND],
    id: number,
    side: Side = 'client',
    flag = false,
    maxBytes = 0,
    bytes?: Uint8Array,
  ): void {
    if (this.#closing) return;
    this.#addon.command(this.#handle, type, id, SIDES.indexOf(side), flag, maxBytes, bytes);
    this.#wakeSoon();
  }

  /** Others of this process have their turn before: so many may come at once that all that they lead to takes seconds. */
  #deliverSoon(): void {
    if (this.#delivers) return;
    this.#delivers = true;
    setImmediate(() => {
      this.#delivers = false;
      if (!this.#hasStopped) this.#addon.deliver(this.#handle);
    });
  }

  /** Once for all that the lives of connections say about what they have just heard: each wake-up costs both threads. */
  #wakeSoon(): void {
    if (this.#wakes) return;
    this.#wakes = true;
    setImmediate(() => {
      this.#wakes = false;
      if (!this.#closing) this.#addon.wake(this.#handle);
    });
  }

  #report(event: NativeEvent): void {
    switch (event[0]) {
      case EVENT.accepted: {
        const [, id, role, peer, local, original, syn, picked, refusal, pass, hello, reply] = event;
        this.#events.accepted(id, {
          role: ROLES[role]!,
          peer: endpointOf(peer) ?? NOWHERE,
          local: endpointOf(local) ?? NOWHERE,
          original: endpointOf(original),
          syn,
          ...(refusal === 0 ? {} : { beyondLimit: REFUSALS[refusal]! }),
          ...(picked === undefined ? {} : { picked: endpointOf(picked)! }),
          ...(pass === undefined || hello === undefined ? {} : { begun: begunBy(pass, hello, reply) }),
        });
        return;
      }
      case EVENT.frame:
        this.#events.frame(event[1], SIDES[event[2]]!, event[3]);
        return;
      case EVENT.notFrame:
        this.#events.notFrame(event[1], SIDES[event[2]]!, event[3], event[4]);
        return;
      case EVENT.tooLarge:
        this.#events.frameTooLarge(event[1], SIDES[event[2]]!, event[3]);
        return;
      case EVENT.dialled:
        this.#events.dialled(event[1], event[2], endpointOf(event[3]), {
          synRetransmits: event[4],
          synData: SYN_DATA[event[5]]!,
          ...(event[6] ? { unbound: true } : {}),
        });
        return;
      case EVENT.preamble:
        this.#events.preamble(event[1], event[2]);
        return;
      case EVENT.closed:
        this.#events.closed(event[1], {
          cause: CAUSES[event[2]]!,
          bytesIn: event[3],
          bytesOut: event[4],
        });
        return;
      case EVENT.stopped: // once everything else of the batch was told
    }
  }
}

function begunBy(pass: number, hello: Uint8Array, reply: Uint8Array | undefined): Begun {
  return reply === undefined || reply.length === 0
    ? { pass, hello, reply: undefined }
    : { pass, hello, reply };
}

/** Of a connection that was gone before it could be asked for its ends. */
const NOWHERE: Endpoint = { address: '0.0.0.0', port: 0 };

function endpointOf(raw: RawEndpoint | undefined): Endpoint | undefined {
  const address = raw && canonicalAddress(raw[0]);
  return address === undefined ? undefined : { address, port: raw![1] };
}
