import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { TestNetwork } from '../test/support/netns.ts';

/** What the load program says at its end; see load.c. */
export interface LoadReport {
  readonly connections: number;
  readonly failed: number;
  readonly why: string;
  readonly bytes: number;
  readonly seconds: number;
  readonly cpu: number;
  readonly p50: number;
  readonly p99: number;
}

/** What to do: seconds, and for some kinds a number; see load.c. */
export interface LoadOrder {
  readonly kind: 'connect' | 'rate' | 'ping' | 'bulk' | 'eager';
  readonly seconds: number;
  readonly number: number;
}

/** Time beyond its own that a load may take to end. */
const GRACE_MS = 20_000;

/** The files of a program beside the one that has its name. */
const MORE_FILES: Readonly<Record<string, readonly string[]>> = { load: ['load-serve.c'] };

/** Compiles a program of the benchmark, files beside this one, into a folder. @returns its path */
export function compile(name: 'load' | 'bare-relay' | 'round-trips', folder: string): string {
  const program = join(folder, name);
  const flags = ['-O2', '-std=gnu17', '-Wall', '-Wextra', '-Wshadow', '-Werror'];
  const files = [`${name}.c`, ...(MORE_FILES[name] ?? [])].map((file) => join(import.meta.dirname, file));
  execFileSync('cc', [...flags, '-o', program, ...files], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return program;
}

type Target = { readonly address: string; readonly port: number };

/** Runs a load in a host to its end. Throws when it has no report, or one connection did not get its answer. */
export async function runLoad(
  network: TestNetwork,
  host: string,
  program: string,
  target: Target,
  order: LoadOrder,
): Promise<LoadReport> {
  const report = await tryLoad(network, host, program, target, order);
  if (report.failed > 0) {
    throw new Error(
      `${report.failed} connections failed beside ${report.connections}, the first: ${report.why}`,
    );
  }
  if (report.connections === 0) throw new Error('no connection was made');
  return report;
}

/** The same where connections may fail. Throws only when there is no report. */
export async function tryLoad(
  network: TestNetwork,
  host: string,
  program: string,
  { address, port }: Target,
  { kind, seconds, number }: LoadOrder,
): Promise<LoadReport> {
  const command = [program, kind, address, String(port), String(seconds), String(number)];
  const timeoutMs = seconds * 1000 + GRACE_MS;
  const { status, out, complaint } = await network.run(host, command, { timeoutMs });
  if (status !== 0)
    throw new Error(`the load did not come to its end: ${complaint.trim() || `status ${status}`}`);
  return JSON.parse(out) as LoadReport;
}
