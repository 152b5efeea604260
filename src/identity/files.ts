import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf, UserError } from '../errors.ts';
import type { Pod } from '../peers/directory.ts';
import { type Claims, decodeClaims, isTrustDomain } from './claims.ts';
import { fromCompact, toCompact } from './compact.ts';
import { issueToken } from './issue.ts';
import { generateIssuer, generateOwnKey, generateSharedSecret, parseIssuerKey, parseOwnKey } from './keys.ts';
import { parseTrust } from './trust.ts';
import { TokenVerifier } from './verify.ts';

/** Writes `issuer.jwk` and `trust.jwks`. @returns the files */
export function initTrustDomain(trustDomain: string, folder: string, force: boolean): string[] {
  checkDomain(trustDomain);
  const [issuerFile, trustFile] = [join(folder, 'issuer.jwk'), join(folder, 'trust.jwks')];
  refuseToReplace(issuerFile, force);
  refuseToReplace(trustFile, force);
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
  const jwt = await issueToken(signer, pod, namespaceLabels, key.publicKey, Date.now() / 1000, ttl);
  if (!kept) {
    write(keyFile, json(key.jwk), 0o600);
    written.push(keyFile);
  }
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
  const { claims, header } = contentsOf(wire, file);
  const refusal = trustFile === undefined ? undefined : refusalOf(wire, trustFile);
  const accepted = refusal === undefined;
  if (format === 'json') {
    const verdict = trustFile === undefined ? {} : { accepted, refusal };
    return {
      text: JSON.stringify({ header, ...claims, wireBytes: wire.length, ...verdict }, undefined, 2),
      accepted,
    };
  }
  const lines = [
    `trust domain      ${claims.trustDomain}`,
    `pod               ${claims.namespace}/${claims.podName} (${claims.podUid})`,
    `service account   ${claims.serviceAccount}`,
    `labels            ${pairs(claims.labels)}`,
    `namespace labels  ${pairs(claims.namespaceLabels)}`,
    `valid             ${time(claims.notBefore)} to ${time(claims.expiresAt)}`,
    `token id          ${claims.tokenId}`,
    `says it is signed ${String(header['alg'])}, by the key ${String(header['kid'])}`,
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
  const bundle = parseTrust(readText(trustFile), trustFile);
  const verified = new TokenVerifier(bundle).verify(wire, Date.now() / 1000);
  return 'refusal' in verified ? verified.refusal : undefined;
}

function contentsOf(wire: Uint8Array, file: string): { claims: Claims; header: Record<string, unknown> } {
  let header: unknown, payload: unknown;
  try {
    const parts = fromCompact(wire);
    header = JSON.parse(parts?.header ?? '');
    payload = JSON.parse(parts?.payload ?? '');
  } catch {
    throw new UserError(`${file}: header or payload is no JSON`);
  }
  const claims = decodeClaims(payload);
  if (typeof claims === 'string') throw new UserError(`${file}: no identity: ${claims}`);
  return { claims, header: Object(header) as Record<string, unknown> };
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
  // A name that nobody can have prepared: what is there already would keep its own mode, or lead elsewhere.
  const temporary = `${file}.${randomUUID()}`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(temporary, text, { mode, flag: 'wx' });
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
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
