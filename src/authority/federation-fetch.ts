import { Agent, request } from 'undici';
import { messageOf, UserError } from '../errors.ts';
import { readSmallFile } from '../identity/file-identity.ts';
import type { KeysSource } from './federation-settings.ts';

/** A trust bundle of sixteen keys has three kilobytes. */
const MOST_BYTES = 64 << 10;
const ANSWER_MS = 10_000;

/**
 * Gets the text that a server tells. It is believed by the certificates of the file, read anew each time, and by those that it named itself when it was believed;
 * it leads nowhere else. Throws a `UserError`.
 */
export async function fetchKeys(
  source: KeysSource & { kind: 'url' },
  authorities: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const { url, caFile, serverName } = source;
  const ca = await readSmallFile(caFile);
  if (!ca.includes('-----BEGIN CERTIFICATE-----')) throw new UserError(`${caFile}: holds no certificate`);
  const agent = new Agent({
    allowH2: true,
    maxResponseSize: MOST_BYTES,
    connect: {
      ca: [ca, ...(authorities === undefined ? [] : [authorities])],
      minVersion: 'TLSv1.2',
      timeout: ANSWER_MS,
      ...(serverName === undefined ? {} : { servername: serverName }),
    },
  });
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    const { statusCode, body } = await request(url, { dispatcher: agent, signal: limit });
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MOST_BYTES) throw new UserError(`answers with more than ${MOST_BYTES} bytes`);
      chunks.push(chunk);
    }
    if (statusCode !== 200) throw new UserError(`answers with HTTP ${statusCode}`);
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw new UserError(`${url}: ${messageOf(error)}`, { cause: error });
  } finally {
    await agent.destroy();
  }
}
