import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Frame, MAC_BYTES, SIGNATURE_BYTES } from '../../src/handshake/frame-types.ts';
import { decodeFrame } from '../../src/handshake/frames.ts';
import { buildHello } from '../../src/handshake/hello.ts';
import { CONTEXT, deriveKeys, mac, transcriptHash } from '../../src/handshake/key-schedule.ts';
import { verifyTranscript } from '../../src/handshake/signature.ts';
import type { VerifyingKey } from '../../src/lib/curves.ts';
import { agreementKeyOf, NODE_CURVES } from '../../src/lib/node-curves.ts';

const vectors = JSON.parse(readFileSync(join(import.meta.dirname, '../vectors/handshake.json'), 'utf8'));
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const hex = (raw: Uint8Array): string => Buffer.from(raw).toString('hex');
const tail = (raw: Uint8Array, length: number): Uint8Array => raw.subarray(0, raw.length - length);

function frame<T extends Frame['type']>(text: string, type: T): Frame & { type: T } {
  const decoded = decodeFrame(bytes(text));
  if (decoded.type !== type) throw new Error(`${decoded.type} instead of ${type}`);
  return decoded as Frame & { type: T };
}

function x25519(secret: string) {
  const der = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), bytes(secret)]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

const hello = bytes(vectors.full.hello);
const reply = bytes(vectors.full.reply);
const proof = bytes(vectors.full.proof);
const verdict = bytes(vectors.full.verdict);

t.test('vectors: both sides derive the keys that the document gives', (t) => {
  const signed = [hello, tail(reply, SIGNATURE_BYTES)];
  const decodedReply = frame(vectors.full.reply, 'reply');
  if (decodedReply.mode !== 'full') throw new Error('resumed');
  const sides = [
    [vectors.client.ephemeral_private, decodedReply.ephemeral],
    [vectors.server.ephemeral_private, frame(vectors.full.hello, 'hello').ephemeral],
  ] as const;
  for (const [secret, peer] of sides) {
    const keys = deriveKeys(agreementKeyOf(x25519(secret)), peer, transcriptHash(signed))!;
    t.strictSame(
      {
        session_id: hex(keys.sessionId),
        client_mac: hex(keys.clientMac),
        server_mac: hex(keys.serverMac),
        client_resume: hex(keys.clientResume),
        server_resume: hex(keys.serverResume),
      },
      vectors.keys,
    );
  }
  t.end();
});

t.test('vectors: signatures verify under their context alone', (t) => {
  const [client, server] = [vectors.client, vectors.server].map(({ public_key: { x, y } }) =>
    NODE_CURVES.verifyingKey(x, y),
  ) as [VerifyingKey, VerifyingKey];
  const replySignature = reply.subarray(-SIGNATURE_BYTES);
  const proofSignature = frame(vectors.full.proof, 'proof').signature;
  const signed = transcriptHash([hello, tail(reply, SIGNATURE_BYTES)]);
  const whole = transcriptHash([hello, reply]);
  t.ok(verifyTranscript(server, CONTEXT.serverProof, signed, replySignature));
  t.notOk(verifyTranscript(server, CONTEXT.clientProof, signed, replySignature));
  t.ok(verifyTranscript(client, CONTEXT.clientProof, whole, proofSignature));
  t.notOk(verifyTranscript(client, CONTEXT.serverProof, whole, proofSignature));
  t.end();
});

t.test('vectors: every MAC is the one of its context, key and transcript', (t) => {
  const key = (name: string): Uint8Array => bytes(vectors.keys[name]);
  const resumedHello = bytes(vectors.resumption.hello);
  const resumedReply = bytes(vectors.resumption.reply);
  const cases = [
    ['admission', hello, bytes(vectors.admission_key), [tail(hello, MAC_BYTES)]],
    ['proofMac', proof, key('client_mac'), [hello, reply, tail(proof, MAC_BYTES)]],
    ['verdict', verdict, key('server_mac'), [hello, reply, proof, tail(verdict, MAC_BYTES)]],
    ['resumed', resumedReply, key('server_resume'), [resumedHello, tail(resumedReply, MAC_BYTES)]],
    ['binder', tail(resumedHello, MAC_BYTES), key('client_resume'), [tail(resumedHello, 2 * MAC_BYTES)]],
  ] as const;
  for (const [context, message, secret, parts] of cases) {
    t.equal(hex(mac(secret, CONTEXT[context], parts)), hex(message.subarray(-MAC_BYTES)), context);
  }
  t.end();
});

t.test('vectors: a Hello is a function of what goes into it', (t) => {
  const decoded = frame(vectors.resumption.hello, 'hello');
  const rebuilt = buildHello({
    ...decoded,
    offers: [
      {
        session: { id: bytes(vectors.keys.session_id), clientKey: bytes(vectors.keys.client_resume) },
        counter: BigInt(vectors.resumption.counter),
      },
    ],
    destination: vectors.server.address,
    token: bytes(vectors.client.token),
    admissionKey: bytes(vectors.admission_key),
  });
  t.equal(hex(rebuilt), vectors.resumption.hello);
  t.end();
});

/** What a decoder has to refuse, each made of a frame that is in order. */
const REJECTS: [string, (hello: Uint8Array) => Uint8Array, string][] = [
  ['an empty input', () => new Uint8Array(0), 'frame-malformed'],
  ['a header cut short', (raw) => raw.subarray(0, 11), 'frame-malformed'],
  ['another magic', (raw) => patched(raw, 0, 0x9d), 'frame-malformed'],
  ['version 0', (raw) => patched(raw, 8, 0), 'version-unsupported'],
  ['version 2', (raw) => patched(raw, 8, 2), 'version-unsupported'],
  ['an unknown type', (raw) => patched(raw, 9, 99), 'frame-malformed'],
  ['a length one too small', (raw) => patched(raw, 11, raw[11]! - 1), 'frame-malformed'],
  ['a byte too many', (raw) => Uint8Array.of(...raw, 0), 'frame-malformed'],
  ['a wish bit that nobody knows', (raw) => patched(raw, 12, 4), 'frame-malformed'],
  ['required without wanted', (raw) => patched(raw, 12, 2), 'frame-malformed'],
  ['a carrier that nobody knows', (raw) => patched(raw, 13, 3), 'frame-malformed'],
  ['an address family that nobody knows', (raw) => patched(raw, 78, 5), 'frame-malformed'],
  ['nine offers announced', (raw) => patched(raw, raw.length - 57, 9), 'frame-malformed'],
];

function patched(raw: Uint8Array, offset: number, value: number): Uint8Array {
  const changed = raw.slice();
  changed[offset] = value;
  return changed;
}

t.test('vectors: what is no frame is refused, each for its reason', (t) => {
  for (const [what, change, reason] of REJECTS) {
    t.match(decodeFrame(change(bytes(vectors.resumption.hello))), { type: 'error', reason }, what);
  }
  t.end();
});
