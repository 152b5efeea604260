import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ApiClient } from '../../src/kube/api-client.ts';
import { TokenFile } from '../../src/kube/credential.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import { ADMIN_TOKEN } from '../support/fake-tokens.ts';

function tokenFile(t: Test): { file: string; write: (text: string) => void } {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-token-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'token');
  return { file, write: (text) => writeFileSync(file, text) };
}

t.test('token file: read again every minute, and when the server refused what it said', async (t) => {
  const { file, write } = tokenFile(t);
  let now = 1_000;
  const credential = new TokenFile(file, () => now);
  write('one\n');
  t.equal(await credential.header(), 'Bearer one');
  write('two\n');
  now += 59_000;
  t.equal(await credential.header(), 'Bearer one');
  now += 1_000;
  t.equal(await credential.header(), 'Bearer two');
  write('three\n');
  credential.rejected();
  t.equal(await credential.header(), 'Bearer three');
});

t.test('token file: one that is missing or no token is an error that names it', async (t) => {
  const { file, write } = tokenFile(t);
  const credential = new TokenFile(file);
  await t.rejects(credential.header(), {
    name: 'ApiError',
    message: /token: the token cannot be read: ENOENT/,
  });
  for (const text of ['', '\n', 'two\nlines', 'a b', 'x'.repeat(100_000), 'é']) {
    write(text);
    await t.rejects(credential.header(), { message: /is no token/ }, JSON.stringify(text.slice(0, 10)));
  }
  write('good');
  t.equal(await credential.header(), 'Bearer good');
});

t.test('token file: after a 401 the next request carries the new token', async (t) => {
  const server = await new FakeApiServer().start();
  const { file, write } = tokenFile(t);
  const client = new ApiClient({ url: server.url, credential: new TokenFile(file) });
  t.teardown(async () => {
    await client.close();
    await server.close();
  });
  write('rubbish');
  await t.rejects(client.get('/api/v1/pods'), { name: 'ApiError', message: 'Unauthorized' });
  write(ADMIN_TOKEN);
  t.match(await client.get('/api/v1/pods'), { kind: 'PodList' });
});
