import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf, UserError } from '../errors.ts';
import type { Pod } from '../peers/directory.ts';
import { type Claims, decodeClaims, isTrustDomain } from './claims.ts';
import { fromCompact, toCompact } from './compact.ts';
import { issueToken } from './issue.ts';
import { generateIssuer, generateOwnKey, generateSharedSecret, parseIssuerKey, parseOwnKey } from './keys.ts';
import { parseTrustBundle } from './trust.ts';
import { TokenVerifier } from './verify.ts';

/** Writes `issuer.jwk` and `trust.jwks`. @returns the files */
export function initTrustDomain(trustDomain: string, folder: string, force: boolean): string[] {
  checkDomain(trustDomain);
  const [issuerFile, trustFile] = [join(folder, 'issuer.jwk'), join(folder, 'trust.jwks')];
  refuseToReplace(issuerFile, force);
  const { issuer, bundle } = generateIssuer(trustDomain);
  write(issuerFile, json(issuer), 0o600);
  write(trustFile, json(bundle), 0o644);
  return [issuerFile, trustFile];
}

/** Writes a pre-shared secret. */
export function writeSharedSecret(trustDomain: string, file: string, force: boolean): void {
  checkDomain(trustDomain);
  refuseToReplace(file, force);
  write(file, json(generateSharedSecret(trustDomain)), 0o600);
}

/** Signs the identity of a pod; writes `token.jwt`, and `key.jwk` unless there is one already. @returns the files written */
export async function issueIdentity(
  issuerFile: string,
  pod: Pod,
  namespaceLabels: Readonly<Record<string, string>>,
  ttl: number,
  folder: string,
): Promise<string[]> {
  const signer = parseIssuerKey(readText(issuerFile), issuerFile);
  const [tokenFile, keyFile] = [join(folder, 'token.jwt'), join(folder, 'key.jwk')];
  const written = [tokenFile];
  const kept = existsSync(keyFile);
  const key = kept ? parseOwnKey(readText(keyFile), keyFile) : generateOwnKey();
  if (!kept) {
    write(keyFile, json(key.jwk), 0o600);
    written.push(keyFile);
  }
  const jwt = await issueToken(signer, pod, namespaceLabels, key.publicKey, Date.now() / 1000, ttl);
  write(tokenFile, `${jwt}\n`, 0o644);
  return written;
}

/** What a token says, and with a trust bundle whether it is accepted. */
export function showIdentity(
  file: string,
  trustFile: string | undefined,
  format: 'text' | 'json',
): { text: string; accepted: boolean } {
  let wire: Uint8Array;
  try {
    wire = toCompact(readText(file).trim());
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file}: no JWT`);
  }
  const claims = claimsOf(wire);
  if (typeof claims === 'string') throw new UserError(`${file}: ${claims}`);
  const refusal = trustFile === undefined ? undefined : refusalOf(wire, trustFile);
  if (format === 'json') {
    return {
      text: JSON.stringify({ ...claims, wireBytes: wire.length, refusal }, undefined, 2),
      accepted: !refusal,
    };
  }
  const lines = [
    `trust domain      ${claims.trustDomain}`,
    `pod               ${claims.namespace}/${claims.podName} (${claims.podUid})`,
    `service account   ${claims.serviceAccount}`,
    `labels            ${pairs(claims.labels)}`,
    `namespace labels  ${pairs(claims.namespaceLabels)}`,
    `valid             ${time(claims.notBefore)} to ${time(claims.expiresAt)}`,
    `on the wire       ${wire.length} bytes`,
  ];
  if (trustFile !== undefined) {
    lines.push(
      `verdict           ${refusal === undefined ? 'accepted' : `${refusal.reason}: ${refusal.detail}`}`,
    );
  }
  return { text: lines.join('\n'), accepted: refusal === undefined };
}

function refusalOf(wire: Uint8Array, trustFile: string) {
  const bundle = parseTrustBundle(readText(trustFile), trustFile);
  const verified = new TokenVerifier(bundle).verify(wire, Date.now() / 1000);
  return 'refusal' in verified ? verified.refusal : undefined;
}

function claimsOf(wire: Uint8Array): Claims | string {
  try {
    return decodeClaims(JSON.parse(fromCompact(wire)?.payload ?? ''));
  } catch {
    return 'the payload is no JSON';
  }
}

function pairs(labels: Readonly<Record<string, string>>): string {
  const entries = Object.entries(labels);
  return entries.length === 0 ? '(none)' : entries.map(([key, value]) => `${key}=${value}`).join(', ');
}

function time(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function checkDomain(name: string): void {
  if (!isTrustDomain(name)) {
    throw new UserError(
      `--trust-domain ${name}: lower case letters, digits, dots, dashes and underscores alone`,
    );
  }
}

function refuseToReplace(file: string, force: boolean): void {
  if (!force && existsSync(file)) {
    throw new UserError(`${file} exists: replacing it ends every identity made with it; --force does it`);
  }
}

/** Never half a file: a reader sees the old one or the new one. */
function write(file: string, text: string, mode: number): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.new`, text, { mode });
    renameSync(`${file}.new`, file);
  } catch (error) {
    throw new UserError(`cannot write ${file}: ${messageOf(error)}`);
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${messageOf(error)}`);
  }
}
