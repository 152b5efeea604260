import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, messageOf, UserError } from './errors.ts';
import { ApiClient } from './kube/api-client.ts';
import { TokenFile } from './kube/credential.ts';
import { listenEndpoint } from './lib/listen-endpoint.ts';
import { loadAddon } from './native.ts';
import { AdminServer, type Routes, text } from './observe/admin-server.ts';
import { createLog, type LogLevel } from './observe/log.ts';
import { untilSignal } from './until-signal.ts';

/** The flags that every component in the cluster has, as commander gives them. */
export interface ReplicaFlags {
  readonly namespace: string;
  readonly listen: string;
  readonly metrics: string;
  readonly apiServer?: string;
  readonly apiToken: string;
  readonly apiCa: string;
  readonly logLevel: LogLevel;
}

/** A component in the cluster, as {@link runReplica} runs it. */
export interface Replica {
  readonly metrics: { text(): Promise<{ readonly contentType: string; readonly body: string }> };
  /** What it waits for; undefined: it is ready. */
  readonly problem: string | undefined;
  /** Tried again until it resolves; a `UserError` of exit code {@link EXIT}.failure ends the program. */
  start(): Promise<unknown>;
  close(): Promise<void>;
}

export interface ReplicaTools {
  readonly client: ApiClient;
  readonly log: ReturnType<typeof createLog>;
}

export interface ReplicaRun {
  readonly replica: Replica;
  /** Told once when it serves; what it returns is logged with that. */
  readonly serving?: () => object;
  /** Told of the signal that ends it, before it is closed. */
  readonly ending: (signal: string) => Promise<void> | void;
}

const RETRY_MS = 2_000;

/** Runs a component until a signal ends it. What the API server does not give yet is waited for, and told; what is wrong with the flags is thrown. */
export async function runReplica(
  flags: ReplicaFlags,
  make: (tools: ReplicaTools) => ReplicaRun,
): Promise<void> {
  // Its keys are to be had from its memory.
  loadAddon().hideMemory();
  const metrics = listenEndpoint('--metrics', flags.metrics);
  if (flags.apiServer === undefined || !flags.apiServer.startsWith('https://')) {
    throw new UserError('--api-server: write https://HOST:PORT; in a pod kubelet tells it');
  }
  const log = createLog(flags.logLevel);
  const signal = untilSignal();
  const client = new ApiClient({
    url: flags.apiServer,
    caFile: flags.apiCa,
    credential: new TokenFile(flags.apiToken),
  });
  const { replica, serving, ending } = make({ client, log });
  let missing: string | undefined = 'starting';
  const routes: Routes = {
    'GET /metrics': async () => ({ status: 200, ...(await replica.metrics.text()) }),
    'GET /healthz': () => text(200, 'ok\n'),
    'GET /readyz': () => {
      const problem = missing ?? replica.problem;
      return problem === undefined ? text(200, 'ready\n') : text(503, `${problem}\n`);
    },
  };
  const health = new AdminServer(routes, (err) => log.error({ err }, 'a request failed because of a defect'));
  await health.listen(metrics);
  const stop = new AbortController();
  void signal.then(() => stop.abort());
  while (!stop.signal.aborted && missing !== undefined) {
    try {
      await replica.start();
      missing = undefined;
    } catch (error) {
      const fatal = unmendable(error, flags.listen);
      if (fatal !== undefined) throw fatal;
      missing = messageOf(error);
      log.warn({ problem: missing }, 'cannot start yet');
      await Promise.race([sleep(RETRY_MS), signal]);
    }
  }
  if (missing === undefined) log.info({ ...serving?.() }, 'serving');
  const name = await signal;
  missing = 'shutting down';
  await ending(name);
  await replica.close();
  await health.close();
  await client.close();
}

/** A port that is taken does not come free by waiting; an API server comes back. */
function unmendable(error: unknown, listen: string): UserError | undefined {
  if (error instanceof UserError && error.exitCode === EXIT.failure) return error;
  if ((error as NodeJS.ErrnoException).syscall !== 'listen') return undefined;
  return new UserError(`--listen ${listen}: ${messageOf(error)}`, { exitCode: EXIT.failure });
}
