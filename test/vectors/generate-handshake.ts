/** Writes handshake.json: one first contact and one resumption, byte by byte. Signatures are random, so running it again gives other vectors. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClientEnd, converse, ServerEnd, World } from '../handshake/parties.ts';
import { decodeFrame } from '../../src/handshake/frames.ts';
import { deriveKeys, transcriptHash } from '../../src/handshake/key-schedule.ts';
import { agreementKeyOf } from '../../src/lib/node-curves.ts';
import type { KeyObject } from 'node:crypto';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function ephemeral() {
  const pair = generateKeyPairSync('x25519');
  const jwk = pair.privateKey.export({ format: 'jwk' });
  return {
    nonce: randomBytes(32),
    privateKey: agreementKeyOf(pair.privateKey),
    publicKey: Buffer.from(jwk.x!, 'base64url'),
    secret: Buffer.from(jwk.d!, 'base64url'),
  };
}

const publicJwk = (key: KeyObject) => key.export({ format: 'jwk' });

const world = new World();
const client = world.party('client', '10.0.0.1');
const server = world.party('server', '10.0.0.2');
const drawn = { client: ephemeral(), server: ephemeral() };
const full = converse(
  new ClientEnd(world.client(client, server.address, { randomness: drawn.client }), world.clock),
  new ServerEnd(world.server(server, { randomness: drawn.server }), world.clock),
);
const second = ephemeral();
const resumed = converse(
  new ClientEnd(world.client(client, server.address, { randomness: second }), world.clock),
  new ServerEnd(world.server(server), world.clock),
);
const [hello, reply] = full.frames;
const decoded = decodeFrame(reply!);
if (decoded.type !== 'reply' || decoded.mode !== 'full') throw new Error('no full reply');
const keys = deriveKeys(drawn.client.privateKey, decoded.ephemeral, transcriptHash([hello!, reply!.subarray(0, reply!.length - 64)]))!;
const names = (frames: Uint8Array[]) =>
  Object.fromEntries(frames.map((frame) => [decodeFrame(frame).type, hex(frame)]));

const vectors = {
  admission_key: hex(world.admissionKey),
  client: {
    token: hex(client.token),
    public_key: publicJwk(client.publicKey),
    ephemeral_private: hex(drawn.client.secret),
    nonce: hex(drawn.client.nonce),
  },
  server: {
    token: hex(server.token),
    public_key: publicJwk(server.publicKey),
    ephemeral_private: hex(drawn.server.secret),
    nonce: hex(drawn.server.nonce),
    address: server.address,
  },
  full: names(full.frames),
  keys: {
    session_id: hex(keys.sessionId),
    client_mac: hex(keys.clientMac),
    server_mac: hex(keys.serverMac),
    client_resume: hex(keys.clientResume),
    server_resume: hex(keys.serverResume),
  },
  resumption: {
    counter: 0,
    client_ephemeral_public: hex(second.publicKey),
    client_nonce: hex(second.nonce),
    ...names(resumed.frames),
  },
};
writeFileSync(join(import.meta.dirname, 'handshake.json'), `${JSON.stringify(vectors, null, 2)}\n`);
