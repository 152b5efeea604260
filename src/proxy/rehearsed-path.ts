import {
  COMMAND,
  EVENT,
  type NativeDataPath as Handle,
  type NativeEvent,
  type OnEvents,
  SIDES,
} from '../native.ts';
import type { DataPathAddon } from '../relay/native-data-path.ts';
import type { Endpoint } from '../lib/address.ts';

const [CLIENT, UPSTREAM] = [SIDES.indexOf('client'), SIDES.indexOf('upstream')];
const [INBOUND, OUTBOUND] = [0, 1];
/** An IPv4 and a TCP header with the Fast Open option, as a dialling sidecar sends it. */
const MARKED_SYN = new Uint8Array(44);
MARKED_SYN.set([0x45]);
MARKED_SYN.set([0x60], 32);
MARKED_SYN.set([34, 2], 40);

/**
 * What the addon's data thread is to a sidecar, for a rehearsal: one connection at a time between two of these, in memory. Whatever is asked for is answered by
 * events of the addon's form, in a turn of the event loop of its own; nothing is dialled, and no byte of an application goes.
 */
export class RehearsedPath implements DataPathAddon {
  readonly #address: string;
  #other: RehearsedPath | undefined;
  #onEvents: OnEvents = () => {};
  #events: NativeEvent[] = [];
  #id = 0;
  /** Frames of the other one that nobody has asked for. */
  #frames: Uint8Array[] = [];
  #reading: number | undefined;

  /** @param address of the pod that it is the data path of */
  constructor(address: string) {
    this.#address = address;
  }

  /** Dials between two go from one to the other. */
  static join(one: RehearsedPath, other: RehearsedPath): void {
    one.#other = other;
    other.#other = one;
  }

  /** The application of this pod calls somebody. */
  call(destination: Endpoint): void {
    const { address, port } = destination;
    this.#begin(OUTBOUND, this.#address, ['127.0.0.1', 14_001], [address, port], new Uint8Array(40));
  }

  /** Both ends of the connection are over. */
  finish(): void {
    for (const one of [this, this.#other!]) one.#soon([EVENT.closed, one.#id, 0, 1, 1]);
  }

  start(onEvents: OnEvents): Handle {
    this.#onEvents = onEvents;
    return {} as Handle;
  }

  listen(_path: Handle, _address: string, port: number): [listener: number, port: number] {
    return [1, port];
  }

  dial(
    _path: Handle,
    id: number,
    address: string,
    port: number,
    _fastOpen: boolean,
    first?: Uint8Array,
  ): void {
    // Whoever calls its own pod calls the application there.
    if (address !== this.#address) {
      this.#other!.#begin(INBOUND, this.#address, [address, 14_006], [address, port], MARKED_SYN);
      if (first !== undefined) this.#other!.#hear(first);
    }
    this.#soon([EVENT.dialled, id, undefined, [this.#address, 40_000], 0, 0, false]);
  }

  command(
    _path: Handle,
    type: (typeof COMMAND)[keyof typeof COMMAND],
    id: number,
    side: number,
    _flag: boolean,
    maxBytes: number,
    bytes: Uint8Array | undefined,
  ): void {
    if (type === COMMAND.readFrame) this.#read(side);
    else if (type === COMMAND.send) this.#other!.#hear(bytes!);
    else if (type === COMMAND.relay && maxBytes > 0) this.#read(UPSTREAM);
    else if (type === COMMAND.reset) this.#soon([EVENT.closed, id, 1, 0, 0]);
    else if (type === COMMAND.stop) this.#soon([EVENT.stopped, 0]);
  }

  #begin(
    role: number,
    peer: string,
    local: [string, number],
    original: [string, number],
    syn: Uint8Array,
  ): void {
    this.#frames = [];
    this.#reading = undefined;
    this.#soon([EVENT.accepted, ++this.#id, role, [peer, 40_000], local, original, syn, undefined, 0]);
  }

  #hear(frame: Uint8Array): void {
    this.#frames.push(frame.slice());
    if (this.#reading !== undefined) this.#read(this.#reading);
  }

  #read(side: number): void {
    const frame = this.#frames.shift();
    this.#reading = frame === undefined ? side : undefined;
    if (frame !== undefined)
      this.#soon([EVENT.frame, this.#id, side === CLIENT ? CLIENT : UPSTREAM, frame, false]);
  }

  #soon(event: NativeEvent): void {
    if (this.#events.push(event) > 1) return;
    setImmediate(() => {
      const events = this.#events;
      this.#events = [];
      this.#onEvents(events, undefined, false);
    });
  }

  wake(): void {}

  deliver(): void {}

  progress(): [bytesIn: number, bytesOut: number] {
    return [0, 0];
  }

  pipesRefused(): number {
    return 0;
  }

  openSession(): number {
    return 1;
  }

  closeSession(): void {}

  useCounter(): number {
    return 0;
  }

  passOutbound(): boolean {
    return true;
  }

  choiceOutbound(): boolean {
    return true;
  }

  passInbound(): boolean {
    return true;
  }

  revokePasses(): void {}

  takeReports(): undefined {
    return undefined;
  }

  limitConnections(): void {}

  connectionsHeld(): never {
    throw new Error('nobody asks a rehearsal');
  }

  queuePassesOpen(): never {
    throw new Error('a rehearsal has no queues');
  }
}
