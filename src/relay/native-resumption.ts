import { formatAddress } from '../lib/address.ts';
import { MONOTONIC_ORIGIN } from '../lib/monotonic-origin.ts';
import {
  CAUSES,
  COUNTER_STATES,
  MOST_CANDIDATES,
  type NativeAddon,
  type NativeDataPath as Handle,
  type NativeQueuePasses,
  SYN_DATA,
} from '../native.ts';
import type { DataPathEvents } from './data-path.ts';
import { REPORT, REPORT_KIND } from './pass-report.ts';
import type {
  ByPass,
  InboundPass,
  OutboundChoice,
  OutboundPass,
  OwnedWindow,
  QueuePassSettings,
  Resumption,
} from './resumption.ts';

/** The functions of the addon that are called here. */
export type ResumptionAddon = Pick<
  NativeAddon,
  | 'openSession'
  | 'closeSession'
  | 'useCounter'
  | 'passOutbound'
  | 'choiceOutbound'
  | 'passInbound'
  | 'revokePasses'
  | 'takeReports'
  | 'queuePassesOpen'
>;

/** Passes that the data thread of native/ answers resumed handshakes by. */
export class NativeResumption implements Resumption {
  readonly #addon: ResumptionAddon;
  readonly #handle: Handle;
  readonly #events: DataPathEvents;
  readonly #isClosed: () => boolean;

  constructor(addon: ResumptionAddon, handle: Handle, events: DataPathEvents, isClosed: () => boolean) {
    this.#events = events;
    this.#addon = addon;
    this.#handle = handle;
    this.#isClosed = isClosed;
  }

  openWindow(): OwnedWindow {
    const session = this.#isClosed() ? 0 : this.#addon.openSession(this.#handle);
    return {
      session,
      use: (counter) => {
        if (this.#isClosed()) return 'too-old';
        return COUNTER_STATES[this.#addon.useCounter(this.#handle, session, counter)]!;
      },
      close: () => {
        if (!this.#isClosed()) this.#addon.closeSession(this.#handle, session);
      },
    };
  }

  passOutbound(pass: OutboundPass): boolean {
    if (this.#isClosed()) return false;
    const { session, dialled, target, counters } = pass;
    return this.#addon.passOutbound(
      this.#handle,
      pass.number,
      pass.lifetimeMs,
      session.id,
      session.clientKey,
      session.serverKey,
      pass.admissionKey,
      dialled.address,
      dialled.port,
      target.address,
      target.port,
      pass.hello,
      Number(counters.first),
      counters.count,
      pass.fastOpen,
      pass.synData,
      pass.ofSeveral,
      carrierNumber(pass),
      (pass.others ?? []).flatMap(({ number, session: { id, clientKey, serverKey }, first }) => [
        number,
        id,
        clientKey,
        serverKey,
        Number(first),
      ]),
    );
  }

  choiceOutbound({ lifetimeMs, dialled, candidates }: OutboundChoice): boolean {
    if (this.#isClosed() || candidates.length === 0 || candidates.length > MOST_CANDIDATES) return false;
    const { address, port } = dialled;
    const flat = candidates.flatMap((one) => [one.address, one.port]);
    return this.#addon.choiceOutbound(this.#handle, lifetimeMs, address, port, flat);
  }

  passInbound(pass: InboundPass): boolean {
    if (this.#isClosed()) return false;
    const { session, reached, target, meant, offered = [session.id] } = pass;
    return this.#addon.passInbound(
      this.#handle,
      pass.number,
      pass.lifetimeMs,
      session.id,
      session.clientKey,
      session.serverKey,
      Buffer.concat(pass.admissionKeys),
      pass.window.session,
      pass.peer,
      reached.address,
      reached.port,
      target.address,
      target.port,
      meant.address,
      meant.port,
      pass.token,
      pass.keepSource,
      carrierNumber(pass),
      Buffer.concat(offered),
      offered.findIndex((id) => Buffer.compare(id, session.id) === 0),
    );
  }

  revoke(): void {
    if (!this.#isClosed()) this.#addon.revokePasses(this.#handle);
  }

  openQueues({ marks, orders }: QueuePassSettings): NativeQueuePasses | undefined {
    if (this.#isClosed()) return undefined;
    const [four, six] = orders;
    return this.#addon.queuePassesOpen(
      this.#handle,
      marks.mask,
      marks.accepted,
      marks.stream,
      marks.streamMask,
      four.bytes,
      four.source,
      four.destination,
      four.sourcePort,
      four.destinationPort,
      six.bytes,
      six.source,
      six.destination,
      six.sourcePort,
      six.destinationPort,
    );
  }

  tell(): void {
    const reports = this.#isClosed() ? undefined : this.#addon.takeReports(this.#handle);
    if (reports !== undefined) readReports(reports, this.#events);
  }
}

/** Of native/passes.h. */
function carrierNumber({ carrier }: InboundPass | OutboundPass): number {
  return carrier === 'syn' ? 2 : 1;
}

/**
 * Tells what the data thread reports of connections that went by a pass. Each is told by the same objects, which hold until the call returns: for
 * thousands a second, new ones would cost the garbage collector more than everything else that is done about them.
 */
export function readReports(reports: Float64Array, events: DataPathEvents): void {
  const peer = { address: '', port: 0 };
  const dial: Writable<ByPass['dial']> = { synData: 'none', synRetransmits: 0 };
  const ending: Writable<NonNullable<ByPass['ending']>> = {
    cause: 'end',
    bytesIn: 0,
    bytesOut: 0,
    durationMs: 0,
  };
  const whole = { id: 0, pass: 0, peer, startedAt: 0, dial, handshakeMs: 0, ending };
  const open = { ...whole, ending: undefined };
  for (let at = 0; at < reports.length; at += REPORT.fields) {
    const kind = reports[at + REPORT.kind];
    const id = reports[at + REPORT.id]!;
    const acceptedAt = reports[at + REPORT.acceptedAt]!;
    ending.cause = CAUSES[reports[at + REPORT.cause]!]!;
    ending.bytesIn = reports[at + REPORT.bytesIn]!;
    ending.bytesOut = reports[at + REPORT.bytesOut]!;
    if (kind === REPORT_KIND.closed) {
      const { cause, bytesIn, bytesOut } = ending;
      events.closed(id, { cause, bytesIn, bytesOut });
      continue;
    }
    ending.durationMs = (reports[at + REPORT.closedAt]! - acceptedAt) / 1000;
    peer.address = addressAt(reports, at);
    peer.port = reports[at + REPORT.port]!;
    dial.synData = SYN_DATA[reports[at + REPORT.synData]!]!;
    dial.synRetransmits = reports[at + REPORT.synRetransmits]!;
    const told = kind === REPORT_KIND.whole ? whole : open;
    told.id = id;
    told.pass = reports[at + REPORT.pass]!;
    told.startedAt = acceptedAt / 1000 - MONOTONIC_ORIGIN;
    told.handshakeMs = (reports[at + REPORT.establishedAt]! - acceptedAt) / 1000;
    events.byPass?.(told);
  }
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Of the address that was asked for last: most connections come from few. */
const last = { family: 0, words: [0, 0, 0, 0] as [number, number, number, number], text: '0.0.0.0' };

/** The peer's address; one that was gone before it could be asked has family 0. */
function addressAt(reports: Float64Array, at: number): string {
  const family = reports[at + REPORT.family]!;
  const from = at + REPORT.address;
  const { words } = last;
  let same = family === last.family;
  for (let word = 0; word < 4; word++) same &&= words[word] === reports[from + word];
  if (same) return last.text;
  for (let word = 0; word < 4; word++) words[word] = reports[from + word]!;
  last.family = family;
  last.text = family === 0 ? '0.0.0.0' : formatAddress({ family: family === 4 ? 4 : 6, words });
  return last.text;
}
