import type { Logger } from 'pino';
import { AdminServer, json, type Routes, text } from '../observe/admin-server.ts';
import { FlowLog } from '../observe/flow-log.ts';
import { FlowReporter } from '../observe/flow-reporter.ts';
import { createLog, isLogLevel } from '../observe/log.ts';
import { Metrics } from '../observe/metrics.ts';
import { Readiness, waitOf } from '../observe/readiness.ts';
import { programVersion } from '../version.ts';
import { messageOf } from '../errors.ts';
import { untilSignal } from '../until-signal.ts';
import { nativeCurves } from '../lib/native-curves.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';
import { printable } from '../lib/printable.ts';
import { loadAddon, type NativeAddon } from '../native.ts';
import type { QueueMode } from '../nfqueue/queue-mode.ts';
import { candidateEndpoints } from '../peers/endpoint-choice.ts';
import { INBOUND_PORT, OUTBOUND_PORT } from '../redirect/ports.ts';
import { ProbeArrivals } from '../redirect/probe-arrivals.ts';
import { NativeDataPath } from '../relay/native-data-path.ts';
import { problemText } from '../sources/manifest-folder.ts';
import type { Source } from '../sources/source.ts';
import { SidecarCapabilities } from './capabilities.ts';
import { ClockSteps } from './clock-steps.ts';
import { connectionBounds, halfOpenBounds, readProcessBounds } from './connection-bounds.ts';
import { ConnectionLimitWatch } from './connection-limit-watch.ts';
import { federationStatus } from './federation-status.ts';
import { demandTransparent } from './keep-source.ts';
import { LocalAddresses } from './local-addresses.ts';
import { Proxy } from './proxy.ts';
import { RedirectWatch } from './redirect-watch.ts';
import { rehearseSoon } from './rehearse-soon.ts';
import { settleMemory, type SettlingMemory } from './settle-memory.ts';
import {
  type SidecarFlags,
  type SidecarIdentity,
  type SidecarSettings,
  settingsOf,
} from './sidecar-settings.ts';
import { authorityLinkOf, sourceOf } from './source-setting.ts';
import { tcpProbeRoutes } from './tcp-probe.ts';

/**
 * Puts a sidecar together and runs it until a signal ends it. Health is served first and tells what is still missing; whatever cannot be had
 * for good is thrown, whatever may come later is waited for.
 */
export async function runSidecar(flags: SidecarFlags): Promise<void> {
  const addon = loadAddon();
  addon.boundMallocSlack();
  addon.hideMemory();
  const curves = nativeCurves(addon) ?? NODE_CURVES;
  const settings = settingsOf(flags);
  const log = createLog(flags.logLevel);
  const readiness = new Readiness(
    (ready) =>
      // From the start of the process: what a start has waited for.
      ready ? log.info({ since_ms: readiness.since }, 'ready') : log.info(`not ready: ${readiness.text}`),
    () => Math.round(performance.now()),
  );
  const link =
    flags.source === 'authority'
      ? await authorityLinkOf(flags, programVersion(), (news) => log.info(news), curves)
      : undefined;
  link?.connect();
  const source: Source = link?.source ?? (await sourceOf(flags));
  const identity: SidecarIdentity = link?.identity ?? (await settings.makeIdentity(curves));
  if (flags.mode !== 'nfqueue') readiness.set('queues', undefined);
  const arrivals = new ProbeArrivals();
  const watch = new RedirectWatch(arrivals, readiness, log, settings.probeIntervalMs);

  const metrics = new Metrics(programVersion(), () => {
    proxy.tell();
    return {
      openInbound: proxy.open.count('inbound'),
      openOutbound: proxy.open.count('outbound'),
      halfOpen: proxy.halfOpen,
      limit: limit.bounds.most,
      beyondLimit: limit.held.refused,
      pipesRefused: proxy.pipesRefused,
      identityExpiresAt: identity.expiresAt,
      snapshotTakenAt: source.snapshot?.takenAt,
      sourceConfirmedAt: source.confirmedAt,
      snapshotVersion: source.snapshot?.version ?? 0,
      sourceProblems: source.problems.length,
      audit: proxy.view?.mode === 'audit',
      ready: readiness.ready,
      redirect: watch.results,
    };
  });
  const flowLog =
    flags.flowLog === undefined
      ? undefined
      : new FlowLog(flags.flowLog, (count) => metrics.droppedRecords(count));
  const reporter = new FlowReporter(metrics, log, flowLog);
  const stopped = untilSignal();
  process.on('SIGHUP', () => flowLog?.reopen());
  const local = new LocalAddresses();
  const client = Math.random();
  const keepSource = flags.keepSourceAddress === true;
  const needs = { nfqueue: flags.mode === 'nfqueue', keepSource };
  const capabilities = new SidecarCapabilities(addon, needs, process.geteuid?.() === 0);
  capabilities.forDataThread();
  if (keepSource) demandTransparent(addon);
  let settling: SettlingMemory | undefined;
  let dataPath!: NativeDataPath;
  const mode = flags.mode === 'nfqueue' ? 'nfqueue' : 'redirect';
  const bounds = connectionBounds(settings.maxConnections, mode, readProcessBounds());
  const proxy = new Proxy({
    halfOpen: halfOpenBounds(bounds),
    source,
    identity,
    generateEphemeral: curves.generateEphemeral,
    createDataPath: (events) => (dataPath = new NativeDataPath(addon, events)),
    sink: reporter,
    candidates: (service, among) =>
      candidateEndpoints(service, among, source.snapshot?.self.nodeName, client),
    isLocalAddress: (address) => local.has(address),
    nodeTraffic: flags.nodeTraffic,
    keepSource,
    onOpened: () => settling?.opened(),
    isProbe: ({ original }) => arrivals.notice(original),
    onView: ({ snapshot }) => {
      log.info(
        { version: snapshot.version, policies: snapshot.policies.length, mode: snapshot.mode },
        'policy in force',
      );
      void identity.describe?.({ pod: snapshot.self, namespaceLabels: snapshot.selfNamespaceLabels });
    },
    onEvaluated: (direction, seconds) => metrics.decided(direction, seconds),
    onFastOpen: (outcome, withheld) => {
      metrics.fastOpened(outcome);
      if (withheld !== undefined) log.info(withheld, 'a path eats Fast Open: dialling without for a while');
    },
    onDefect: (error) => log.error({ err: error }, 'a connection was reset because of a defect'),
  });

  const limit = new ConnectionLimitWatch(dataPath.limit, bounds, log);

  let problems = '';
  const tellProblems = (): void => {
    const told = source.problems.map(problemText);
    const joined = told.join('\n');
    if (joined !== problems) for (const problem of told) log.warn({ problem }, 'problem in the source');
    problems = joined;
    const first = told[0];
    readiness.set('source', source.snapshot === undefined ? (first ?? 'not read yet') : undefined);
  };
  let identityProblem: string | undefined;
  const tellIdentity = (): void => {
    if (identity.problem !== undefined && identity.problem !== identityProblem) {
      log.warn({ problem: identity.problem }, 'problem with the identity');
    }
    identityProblem = identity.problem;
    const usable = identity.credentials() !== undefined;
    readiness.set('identity', usable ? undefined : (identity.problem ?? 'the own identity has ended'));
  };
  source.subscribe(tellProblems);
  identity.subscribe(() => {
    log.info({ expires: new Date((identity.expiresAt ?? 0) * 1000).toISOString() }, 'identity in force');
    proxy.identityChanged();
    tellIdentity();
  });
  const clock = new ClockSteps();
  const identityTimer = setInterval(() => {
    tellIdentity();
    if (!clock.look(Date.now(), performance.now())) return;
    log.warn('the clock was set: sessions end, and what is open is judged again');
    identity.clockWasSet();
  }, 1_000);
  identityTimer.unref();

  const routes: Routes = {
    'GET /metrics': async () => ({ status: 200, ...(await metrics.text()) }),
    'GET /healthz': () => text(200, 'ok\n'),
    'GET /readyz': async (_body, query) => {
      await readiness.within(waitOf(query));
      // The last good state stays in force when a file breaks; that it is not the newest is said all the same.
      const stale = readiness.ready ? source.problems.slice(0, 5).map(problemText) : [];
      const lines = [readiness.text, ...stale.map((problem) => `source: ${printable(problem, 300)}`)];
      return text(readiness.ready ? 200 : 503, `${lines.join('\n')}\n`);
    },
  };
  const probeRoutes = tcpProbeRoutes(flags.tcpProbes, () => source.snapshot?.self.addresses[0]);
  const brokenRoute = (error: unknown): void =>
    log.error({ err: error }, 'a request failed because of a defect');
  const health = new AdminServer({ ...routes, ...probeRoutes }, brokenRoute);
  await health.listen(settings.metrics);
  let queueMode: QueueMode | undefined;
  const adminRoutes: Routes = {
    ...routes,
    'GET /status': () =>
      json(200, {
        version: programVersion(),
        pod: flags.pod,
        ready: readiness.ready,
        conditions: readiness.text,
        mode: proxy.view?.mode ?? null,
        policies:
          source.snapshot?.policies.map(({ namespace, name }) => `networkpolicy/${namespace}/${name}`) ??
          null,
        source: {
          kind: flags.source,
          confirmed: source.confirmedAt === undefined ? null : new Date(source.confirmedAt).toISOString(),
          taken: source.snapshot === undefined ? null : new Date(source.snapshot.takenAt).toISOString(),
          version: source.snapshot?.version ?? 0,
          ...(link === undefined ? {} : { connected: link.source.connected }),
        },
        problems: source.problems.map(problemText),
        identity: identityStatus(identity),
        federation: federationStatus(identity, Date.now() / 1000),
        connections: proxy.connections,
        connectionLimit: { ...limit.bounds, ...limit.held },
        byPass: proxy.byPass,
        redirect: watch.results,
        ...(queueMode === undefined ? {} : { nfqueue: queueMode.status() }),
      }),
    'GET /log-level': () => text(200, `${log.level}\n`),
    'PUT /log-level': (body) => {
      const level = body.trim();
      if (!isLogLevel(level)) return text(400, 'debug, info, warn or error\n');
      log.level = level;
      return text(200, `${level}\n`);
    },
    'GET /flows': () => {
      proxy.tell();
      return json(200, reporter.recent.list());
    },
  };
  const admin = new AdminServer(adminRoutes, brokenRoute);
  if (flags.adminSocket !== undefined) await admin.listenUnix(flags.adminSocket);

  const families = await listenEverywhere(proxy, (message) => log.warn(message));
  readiness.set('listeners', undefined);
  readiness.set('serving', undefined);
  tellProblems();
  void source.start();
  await identity.start?.();
  tellIdentity();
  if (flags.mode === 'nfqueue') {
    capabilities.forQueues();
    queueMode = await startQueues(addon, proxy, { flags, settings, log, metrics, readiness });
    capabilities.forPackets();
  }
  watch.start(families);
  settling = settleMemory(addon);
  const untried = (error: unknown): void =>
    log.warn({ err: error }, 'no first contact could be rehearsed: the first ones take longer');
  const stage = queueMode?.rehearsal;
  const rehearsal = rehearseSoon(curves, untried, {}, stage && (() => stage(curves)));

  const signal = await stopped;
  log.info(`${signal}: draining for at most ${flags.drain} s`);
  readiness.set('serving', 'shutting down');
  const left = await proxy.drain(settings.drainMs);
  log.info(left === 0 ? 'drained' : `${left} connections are cut`);
  watch.close();
  limit.close();
  settling.close();
  rehearsal.close();
  clearInterval(identityTimer);
  await source.close();
  identity.close();
  await queueMode?.close();
  await proxy.close();
  await Promise.all([health.close(), flags.adminSocket === undefined ? undefined : admin.close()]);
  await flowLog?.close();
}

/** What the own identity says, for whoever may open the admin socket. */
function identityStatus(identity: SidecarIdentity): object {
  const own = identity.state?.own;
  return {
    expires: identity.expiresAt ?? null,
    problem: identity.problem ?? null,
    ...(own === undefined
      ? {}
      : {
          trustDomain: own.trustDomain,
          serviceAccount: own.serviceAccount,
          labels: own.labels,
          issued: own.issuedAt,
          issuerKey: own.issuerKeyId,
        }),
  };
}

/** NFQUEUE mode is loaded by who uses it. */
async function startQueues(
  addon: NativeAddon,
  proxy: Proxy,
  parts: {
    readonly flags: SidecarFlags;
    readonly settings: SidecarSettings;
    readonly log: Logger;
    readonly metrics: Metrics;
    readonly readiness: Readiness;
  },
): Promise<QueueMode> {
  const { flags, settings, log, metrics, readiness } = parts;
  const { startQueueMode } = await import('../nfqueue/queue-mode.ts');
  const { marks, firstQueue, queues } = settings;
  const flowState = flags.flowState;
  return startQueueMode({ addon, proxy, log, metrics, readiness, marks, firstQueue, queues, flowState });
}

/** The four listeners; where there is no IPv6 the two of it are left out. @returns the families that are there */
async function listenEverywhere(proxy: Proxy, warn: (message: string) => void): Promise<(4 | 6)[]> {
  await proxy.listen('outbound', { address: '127.0.0.1', port: OUTBOUND_PORT });
  await proxy.listen('inbound', { address: '0.0.0.0', port: INBOUND_PORT });
  try {
    await proxy.listen('outbound', { address: '::1', port: OUTBOUND_PORT });
    await proxy.listen('inbound', { address: '::', port: INBOUND_PORT });
    return [4, 6];
  } catch (error) {
    if (!/EADDRNOTAVAIL|EAFNOSUPPORT/.test(messageOf(error))) throw error;
    warn('no IPv6 here; IPv4 alone is served');
    return [4];
  }
}
