/**
 * Writes the code cache of a bundle: runs it, and keeps what V8 has compiled by then.
 *
 *     node tools/bundle-cache.ts BUNDLE [sidecar]
 *
 * `sidecar`: it starts as one, with the demo's pods and an identity made for the purpose, and is asked for health and metrics, so that a pod compiles
 * nothing of that again. Its listeners are at free ports of loopback. Without, it tells its version.
 * A process of its own, since the bundle is a program that runs to its end.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../src/errors.ts';
import { initTrustDomain, issueIdentity } from '../src/identity/files.ts';
import { loadBundle, runBundle } from '../src/launch.ts';
import { findPod } from '../src/sources/manifest-folder.ts';

const POD = 'pub/beer-0';
const MANIFESTS = join(import.meta.dirname, '../manifests/demo');
const PATIENCE_MS = 60_000;

const [file, kind] = process.argv.slice(2) as [string, string?];
const script = loadBundle(file);
if (kind === 'sidecar') await rehearse();
else {
  process.on('exit', keep);
  run('version');
}

function keep(): void {
  writeFileSync(`${file}.cache`, script.createCachedData());
}

function run(...words: string[]): void {
  process.argv.splice(1, process.argv.length - 1, file, ...words);
  runBundle(script, file);
}

/** Starts a sidecar in this process and ends when it lacks nothing but the redirection of a pod. */
async function rehearse(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-rehearsal-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  initTrustDomain('cluster.local', join(folder, 'trust'), false);
  const { pod, namespaceLabels } = await findPod(MANIFESTS, POD);
  await issueIdentity(join(folder, 'trust/issuer.jwk'), pod, namespaceLabels, 3_600, folder);
  listenAnywhere();
  const socket = join(folder, 'admin');
  run(
    ...['proxy', '--manifests', MANIFESTS, '--pod', POD, '--trust', join(folder, 'trust/trust.jwks')],
    ...['--token', join(folder, 'token.jwt'), '--key', join(folder, 'key.jwk')],
    ...['--metrics', '127.0.0.1:0', '--admin-socket', socket, '--log-level', 'error'],
  );
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(20)) {
    const status = await ask(socket, '/status').catch((error: unknown) => messageOf(error));
    if (lacksOnlyRedirection(status)) break;
    if (Date.now() > deadline)
      throw new Error(`the rehearsal of a sidecar does not come to its end: ${status}`);
  }
  await ask(socket, '/metrics');
  await ask(socket, '/healthz');
  keep();
  process.exit(0);
}

/** @param status what `GET /status` answers: nothing leads to a sidecar here, and its test says so once everything else was done */
function lacksOnlyRedirection(status: string): boolean {
  if (!status.startsWith('{')) return false;
  const { identity, source, redirect } = JSON.parse(status) as {
    identity: { expires: number | null };
    source: { taken: string | null };
    redirect: readonly unknown[];
  };
  return identity.expires !== null && source.taken !== null && redirect.length > 0;
}

/** The ports of a sidecar may be in use where a bundle is made. */
function listenAnywhere(): void {
  const load = process.dlopen.bind(process);
  type Addon = {
    exports: { listen: (path: unknown, address: string, port: number, role: number) => unknown };
  };
  process.dlopen = (module: object, ...rest) => {
    load(module, ...(rest as [string]));
    const addon = module as Addon;
    const { listen } = addon.exports;
    addon.exports = {
      ...addon.exports,
      listen: (path, address, _port, role) =>
        listen(path, address.includes(':') ? '::1' : '127.0.0.1', 0, role),
    };
  };
}

function ask(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (body += chunk));
      response.on('end', () => resolve(body));
    });
    sent.on('error', reject);
    sent.end();
  });
}
