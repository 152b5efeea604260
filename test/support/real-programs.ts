import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Cluster } from './sidecars.ts';
import { until } from './until.ts';

const BYTES = 3 << 20;
/** Says the hash of what is uploaded; Node.js sends the `100 Continue` that curl waits for. */
const UPLOADS = `require('http').createServer((q, r) => { const hash = require('crypto').createHash('sha256');
  q.on('data', (d) => hash.update(d)).on('end', () => r.end(hash.digest('hex'))); }).listen(8001, '::', () => console.log('up'))`;
/** Takes mail, as far as a client wants to be spoken to (RFC 5321). */
const MAIL = `require('net').createServer((s) => { let data = false; s.on('error', () => {}); s.write('220 mail\\r\\n');
  require('readline').createInterface({ input: s, crlfDelay: Infinity }).on('line', (line) => {
    if (data) { if (line === '.') { data = false; s.write('250 kept\\r\\n'); } return; }
    const word = line.slice(0, 4).toUpperCase();
    if (word === 'DATA') { data = true; s.write('354 go on\\r\\n'); } else if (word === 'QUIT') s.end('221 bye\\r\\n'); else s.write('250 well\\r\\n');
  }); }).listen(2525, '::', () => console.log('up'))`;

/** Programs that know nothing of sidecars, from the pod `client` to the pod `server`: each has its own idea of who speaks, waits and closes first. */
export async function realPrograms(t: Test, cluster: Cluster): Promise<void> {
  const { four, six } = cluster.addresses.get('server')!;
  const folder = join(cluster.folder, 'served');
  mkdirSync(folder);
  const file = join(folder, 'file');
  writeFileSync(file, randomBytes(BYTES));
  const expected = createHash('sha256').update(readFileSync(file)).digest('hex');
  const served = ['python3', '-m', 'http.server', '--bind', '::', '--directory', folder, '8000'];
  cluster.network.start('server', served).stderr!.resume();
  await cluster.app('server', UPLOADS);
  await cluster.app('server', MAIL);
  const curl = (...words: string[]) =>
    cluster.network.run('client', ['curl', '-sS', '--max-time', '100', ...words], { timeoutMs: 110_000 });

  for (const host of [four, `[${six}]`]) {
    const got = join(cluster.folder, 'got');
    const url = `http://${host}:8000/file`;
    // Nobody listens before Python has started.
    await until('curl fetches a file', async () => (await curl('-o', got, url)).status === 0);
    t.equal(createHash('sha256').update(readFileSync(got)).digest('hex'), expected, 'a server that closes');
    const twice = [`http://${host}:8001/`, `http://${host}:8001/`];
    const upload = await curl(
      '-T',
      file,
      '-w',
      ' %{num_connects}\n',
      ...twice.slice(0, 1),
      '--next',
      '-sS',
      '-T',
      file,
      '-w',
      ' %{num_connects}\n',
      ...twice.slice(1),
    );
    t.equal(upload.out, `${expected} 1\n${expected} 0\n`, 'uploads that wait for 100, on one connection');
  }
  const mail = `import smtplib
s = smtplib.SMTP('${four}', 2525, timeout=100)
print(s.sendmail('a@example.org', 'b@example.org', 'hello'), s.quit()[0])`;
  const sent = await cluster.network.run('client', ['python3', '-c', mail], { timeoutMs: 110_000 });
  t.equal(sent.out, '{} 221\n', `mail: ${sent.complaint}`);
}
