/**
 * A program of system tests: a fake API server and an authority on it, in the network namespace that it is started in. Takes commands as JSON lines on
 * standard input, answers each with one on standard output.
 */
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Authority } from '../../src/authority/authority.ts';
import { FakeApiServer } from './fake-api-server.ts';
import type { FakeObject } from './fake-store.ts';

interface Wish {
  readonly put?: FakeObject;
  readonly remove?: FakeObject;
  /** Writes a token of a pod of `demo` to a file. */
  readonly token?: { readonly pod: string; readonly file: string };
  readonly authority?: 'stop' | 'start';
}

interface Settings {
  readonly address: string;
  readonly caFile: string;
  readonly trustDomain: string;
  readonly federationFile: string;
  /** Another address under which it is reached. */
  readonly outside?: string;
}

const { address, caFile, trustDomain, federationFile, outside } = JSON.parse(process.argv[2]!) as Settings;
const PORT = 14_443;
const api = await new FakeApiServer().start();
const client = api.client();
let authority = await start();
process.stdout.write('{"up":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  await obey(JSON.parse(line) as Wish);
  process.stdout.write('{"done":true}\n');
}

async function start(): Promise<Authority> {
  const log = (): void => {};
  const made = new Authority({
    client,
    namespace: 'countersign-system',
    trustDomain,
    federationFile,
    names: outside === undefined ? [address] : [address, outside],
    listen: { address: outside === undefined ? address : '::', port: PORT },
    sidecar: { container: 'countersign-proxy', image: '' },
    audience: 'countersign-authority',
    caConfigMap: 'countersign-ca',
    ttl: 14_400,
    renewAfter: 1_200,
    release: 'test',
    log: { info: log, warn: log, error: log },
  });
  await made.start();
  writeFileSync(caFile, made.authorities, { mode: 0o644 });
  return made;
}

async function obey({ put, remove, token, authority: what }: Wish): Promise<void> {
  if (put !== undefined) api.put(put);
  if (remove !== undefined) api.remove(remove);
  if (what === 'stop') await authority.close();
  if (what === 'start') authority = await start();
  if (token === undefined) return;
  const { status } = (await client.create('/api/v1/namespaces/demo/serviceaccounts/default/token', {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      audiences: ['countersign-authority'],
      expirationSeconds: 3_600,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: token.pod },
    },
  })) as { status: { token: string } };
  writeFileSync(token.file, status.token, { mode: 0o644 });
}
