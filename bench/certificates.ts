import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Certificates } from './proxy-settings.ts';

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** Makes a certificate authority with a server's and a client's certificate in a folder, for a day. */
export function makeCertificates(folder: string): Certificates {
  const at = (name: string): string => join(folder, name);
  const openssl = (...words: string[]): void =>
    void execFileSync('openssl', words, { stdio: ['ignore', 'ignore', 'pipe'] });
  openssl(
    'req',
    '-x509',
    ...P256,
    '-subj',
    '/CN=bench',
    '-days',
    '1',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
  );
  const [server, client] = (['server', 'client'] as const).map((name) => {
    const [key, certificate, both] = [at(`${name}.key`), at(`${name}.crt`), at(`${name}.pem`)];
    openssl('req', ...P256, '-subj', `/CN=${name}`, '-keyout', key, '-out', at(`${name}.csr`));
    writeFileSync(at(`${name}.ext`), `subjectAltName=DNS:${name}\n`);
    const signed = ['-in', at(`${name}.csr`), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial'];
    openssl('x509', '-req', ...signed, '-days', '1', '-extfile', at(`${name}.ext`), '-out', certificate);
    writeFileSync(both, readFileSync(certificate, 'utf8') + readFileSync(key, 'utf8'));
    // Keys that live for a benchmark, and are read by the proxies' own user.
    for (const file of [key, certificate, both]) chmodSync(file, 0o644);
    return { certificate, key, both };
  });
  return { ca: at('ca.pem'), server: server!, client: client! };
}
