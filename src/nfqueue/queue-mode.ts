import type { Logger } from 'pino';
import { messageOf } from '../errors.ts';
import type { Curves } from '../lib/curves.ts';
import type { NativeAddon } from '../native.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { Readiness } from '../observe/readiness.ts';
import type { Proxy } from '../proxy/proxy.ts';
import type { Stage } from '../proxy/rehearse-soon.ts';
import { endGoneFlows } from './ended-flows.ts';
import { EndedPace } from './ended-pace.ts';
import { endpointsOf } from './flow-endpoints.ts';
import { flowId } from './flow-record-lines.ts';
import { FlowStore } from './flow-store.ts';
import { GATE_MS, type Gate, gateLimits } from './gate.ts';
import { KernelPacketPath } from './kernel-packet-path.ts';
import type { Marks } from './marks.ts';
import { passSettings } from './pass-settings.ts';
import { QueuePasses } from './queue-passes.ts';
import { QueueProxy } from './queue-proxy.ts';
import { QueueRehearsal } from './queue-rehearsal.ts';
import type { QueuedFlow } from './queued-flow.ts';
import { recoverFlows } from './recovery.ts';

/** How often the kernel is asked which connections have ended. */
const ENDED_MS = 1_000;
/** Never reached: the socket is full before, and that is what can be counted (`src/nfqueue/queue-gaps.ts`). */
const MAX_WAITING = 4_194_304;
/** Twice as much by the kernel's reckoning (socket(7), SO_RCVBUF): about 13,000 packets with a Hello. */
const BUFFER_BYTES = 16 * 1024 * 1024;

export interface QueueModeOptions {
  readonly addon: NativeAddon;
  readonly proxy: Proxy;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  readonly marks: Marks;
  readonly firstQueue: number;
  readonly queues: number;
  /** The file of verified flows; undefined: a restart cuts every connection. */
  readonly flowState: string | undefined;
}

/** NFQUEUE mode of a running sidecar. */
export interface QueueMode {
  /** What the admin socket says. */
  status(): Record<string, unknown>;
  /** What rehearses its first contacts. */
  readonly rehearsal: (curves: Curves) => Stage;
  close(): Promise<void>;
}

/**
 * Starts NFQUEUE mode beside the listeners: takes back what an earlier run had verified, and then opens the queues.
 * @throws UserError when the queues or the file of verified flows cannot be had
 */
export async function startQueueMode(options: QueueModeOptions): Promise<QueueMode> {
  const { addon, proxy, log, metrics, readiness, marks, firstQueue, queues, flowState } = options;
  const around = proxy.surroundings;
  const store =
    flowState === undefined
      ? undefined
      : new FlowStore(flowState, (problem) => log.error({ problem }, 'flow state'));
  const generation = store?.generation ?? 0;
  const keep = (one: QueuedFlow): void => {
    const { direction, source, destination, handshake } = one.flow.facts;
    const { judgement } = one.flow;
    if (store === undefined || one.peer === undefined || judgement === undefined || handshake === 'none')
      return;
    const since = Date.now() - (performance.now() - one.startedAt);
    const flow = { direction, source, destination, handshake, since, judgement, peer: one.peer };
    store.add(idOf(one), flow);
  };
  let gate: Gate | undefined;
  const queueProxy = new QueueProxy({
    createPath: (events, user) => {
      const handle = around.passes.openQueues(passSettings(marks, generation), user);
      const passing = handle && new QueuePasses(addon, handle);
      gate = passing;
      return new KernelPacketPath(addon, marks, events, passing);
    },
    around,
    marks,
    generation,
    onFallback: (address, detail) => {
      metrics.fellBack();
      log.warn({ address, detail }, 'calls of this address use the stream carrier for a while');
    },
    onLost: (count) => metrics.lostPackets(count),
    onFailed: (error) => {
      readiness.set('queues', messageOf(error));
      log.error({ err: error }, 'the queues failed; packets of new connections are dropped');
    },
    onDefect: (error) => log.error({ err: error }, 'a packet was dropped because of a defect'),
    onVerified: keep,
    onEnded: (one) => store?.end(idOf(one)),
  });
  queueProxy.open({
    firstQueue,
    queues,
    maxWaiting: MAX_WAITING,
    bufferBytes: BUFFER_BYTES,
    copyBytes: 65_535,
  });
  try {
    const recovered = await recoverFlows(queueProxy, store?.kept ?? new Map(), around, marks);
    for (const one of queueProxy.flows.values()) keep(one);
    if (recovered.adopted + recovered.cut > 0) log.info(recovered, 'connections of an earlier run');
  } catch (error) {
    await queueProxy.close();
    throw error;
  }
  readiness.set('queues', undefined);
  let polling = false;
  const pace = new EndedPace();
  const poll = async (): Promise<void> => {
    const begun = performance.now();
    if (polling || !pace.isDue(begun, queueProxy.entered.size)) return;
    polling = true;
    let took = 0;
    try {
      took = await endGoneFlows(queueProxy);
    } catch (error) {
      log.warn({ err: error }, 'the kernel does not say which connections have ended');
    } finally {
      polling = false;
      pace.read(begun, begun + took, queueProxy.entered.size);
    }
  };
  const timer = setInterval(() => void poll(), ENDED_MS);
  timer.unref();
  const limit = (): void => {
    const keys = around.identity.admissionKeys();
    const dropped = gate?.limit(gateLimits(queueProxy.strangers, keys, performance.now())) ?? 0;
    if (dropped > 0) metrics.droppedStrangers(dropped);
  };
  limit();
  const limiting = setInterval(limit, GATE_MS);
  limiting.unref();
  return {
    rehearsal: (curves) => new QueueRehearsal(curves),
    status: () => ({
      flows: queueProxy.flows.size,
      byPass: queueProxy.byPass.count,
      droppedHellos: queueProxy.strangers.dropped,
      queues: queuesOf(queueProxy),
    }),
    close: async () => {
      clearInterval(timer);
      clearInterval(limiting);
      await queueProxy.close();
      store?.close();
    },
  };
}

/** The kernel shows the state of its queues to root alone, which a sidecar is not. */
function queuesOf({ path }: QueueProxy): unknown {
  try {
    return path.statistics();
  } catch (error) {
    return `not shown to this user: ${messageOf(error)}`;
  }
}

function idOf(one: QueuedFlow): string {
  const { source, destination } = endpointsOf(one.tuple);
  return flowId(one.flow.facts.direction, source, destination);
}
