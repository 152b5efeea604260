/**
 * The attacker of the demo, run in a pod whose sidecar it replaced: speaks the preamble with stolen, forged or recorded material. Its argument is
 * JSON, see {@link Attack}; it prints one line that says how far it came.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { type ClientContext, startClient, stepClient } from '../handshake/client.ts';
import { drawRandomness } from '../handshake/ephemeral.ts';
import { MAX_FRAME_BYTES } from '../handshake/frame-types.ts';
import { decodeFrame } from '../handshake/frames.ts';
import { FrameFormat } from '../handshake/format.ts';
import type { PeerIdentity } from '../handshake/credentials.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';
import { toCompact } from '../identity/compact.ts';
import { parseOwnKey } from '../identity/keys.ts';
import { admissionKey, parseTrustBundle } from '../identity/trust.ts';
import { TokenVerifier } from '../identity/verify.ts';

/** What to attack with: a handshake with these files, or recorded bytes. */
export interface Attack {
  readonly address: string;
  readonly port: number;
  /** base64 */
  readonly recorded?: string;
  readonly token?: string;
  readonly key?: string;
  readonly trust?: string;
}

const attack = JSON.parse(process.argv[2] ?? '{}') as Attack;
const socket = connect({ host: attack.address, port: attack.port });
const timer = setTimeout(() => finish('no answer'), 20_000);
socket.on('error', (error) => finish(`reset (${'code' in error ? String(error.code) : error.message})`));
socket.on('end', () => finish('closed'));
socket.on('connect', () => {
  if (attack.recorded !== undefined) {
    socket.write(Buffer.from(attack.recorded, 'base64'));
    onFrames(socket, (frame) => finish(describe(frame)));
  } else {
    handshake(attack);
  }
});

/** The honest client's own machine, with dishonest material. */
function handshake({ token, key, trust, address, port }: Attack): void {
  const bundle = parseTrustBundle(readFileSync(trust!, 'utf8'), trust!);
  const verifier = new TokenVerifier(bundle);
  const context: ClientContext<PeerIdentity> = {
    credentials: {
      token: toCompact(readFileSync(token!, 'utf8').trim()),
      privateKey: NODE_CURVES.signingKeyOf(parseOwnKey(readFileSync(key!, 'utf8'), key!).privateKey),
      expiresAt: Number.MAX_SAFE_INTEGER,
      podUid: 'nobody',
    },
    // Everybody knows it who knows the bundle.
    admissionKey: admissionKey(bundle, [...bundle.keys.keys()][0]!)!,
    randomness: drawRandomness(),
    carrier: 'stream',
    wishes: { encryption: 'none' },
    destination: { address, port },
    toSelf: false,
    offers: [],
    verify: (peerToken) => verifier.verify(peerToken, Date.now() / 1000),
    remember: () => {},
  };
  const clock = { monotonic: performance.now(), epochSeconds: Date.now() / 1000 };
  let { state, effects } = startClient(context);
  const act = (): void => {
    for (const effect of effects) {
      if (effect.kind === 'send') socket.write(effect.bytes);
      if (effect.kind === 'established') finish('let in');
      if (effect.kind === 'failed') finish(`${effect.reason}: ${effect.detail}`);
      if (effect.kind === 'judge') {
        ({ state, effects } = stepClient(
          state,
          { kind: 'judged', verdict: { allow: true } },
          context,
          clock,
        ));
        act();
        return;
      }
    }
  };
  onFrames(socket, (bytes) => {
    ({ state, effects } = stepClient(state, { kind: 'frame', bytes }, context, clock));
    act();
  });
  act();
}

function onFrames(from: Socket, take: (frame: Uint8Array) => void): void {
  let buffer = Buffer.alloc(0);
  from.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= FrameFormat.headerBytes && buffer.length <= MAX_FRAME_BYTES) {
      const length = FrameFormat.headerBytes + buffer.readUInt16BE(FrameFormat.lengthOffset);
      if (buffer.length < length) return;
      take(Uint8Array.from(buffer.subarray(0, length)));
      buffer = buffer.subarray(length);
    }
  });
}

function describe(bytes: Uint8Array): string {
  const frame = decodeFrame(bytes);
  return frame.type === 'refusal' ? `refused (${frame.code})` : `answered with ${frame.type}`;
}

function finish(outcome: string): void {
  clearTimeout(timer);
  process.stdout.write(`${outcome}\n`);
  process.exit();
}
