import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { type ClientContext, startClient, stepClient } from '../handshake/client.ts';
import { drawRandomness } from '../handshake/ephemeral.ts';
import type { Clock, Effect, HandshakeEvent } from '../handshake/outcome.ts';
import { RecentNonces } from '../handshake/recent-nonces.ts';
import { type ServerContext, startServer, stepServer } from '../handshake/server.ts';
import { encodeClaims, TOKEN_TYPE } from '../identity/claims.ts';
import { toCompact } from '../identity/compact.ts';
import { admissionKey, type TrustBundle } from '../identity/trust.ts';
import { TokenVerifier, type ProvenIdentity } from '../identity/verify.ts';
import type { Curves } from '../lib/curves.ts';
import { signEs256 } from '../lib/es256.ts';

const KEY_ID = 'rehearsal';
const DESTINATION = { address: '192.0.2.1', port: 1 };

/**
 * Plays full handshakes with itself, in both roles, between pods of a trust domain that exists for this call alone. Whatever a first contact runs is compiled
 * then, and OpenSSL has looked up what it needs: a first contact in a process that never made one costs several times what a later one does. Nothing that is
 * in force takes part, and nothing is left but warm code.
 * @param clock the time of the handshakes
 * @returns how many were established: `times`
 */
export function rehearseHandshakes(curves: Curves, times: number, clock: Clock): number {
  const issuer = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const bundle: TrustBundle = {
    trustDomain: 'rehearsal.invalid',
    algorithm: 'ES256',
    keys: new Map([[KEY_ID, issuer.publicKey]]),
  };
  const key = admissionKey(bundle, KEY_ID)!;
  const pods = ['client', 'server'].map((name) => {
    const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { x, y } = own.publicKey.export({ format: 'jwk' });
    const issuedAt = Math.floor(clock.epochSeconds);
    const payload = encodeClaims({
      trustDomain: bundle.trustDomain,
      namespace: 'rehearsal',
      serviceAccount: 'default',
      podName: name,
      podUid: randomUUID(),
      labels: { app: name, 'app.kubernetes.io/name': name },
      namespaceLabels: { 'kubernetes.io/metadata.name': 'rehearsal' },
      issuedAt,
      notBefore: issuedAt,
      expiresAt: issuedAt + 60,
      tokenId: randomUUID(),
      key: { x: x!, y: y! },
    });
    const header = { alg: bundle.algorithm, typ: TOKEN_TYPE, kid: KEY_ID };
    const signed = [header, payload]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    const signature = Buffer.from(signEs256(issuer.privateKey, Buffer.from(signed))).toString('base64url');
    const token = toCompact(`${signed}.${signature}`);
    const podUid = name;
    return { token, privateKey: own.privateKey, expiresAt: issuedAt + 60, podUid };
  });
  const [client, server] = pods as [(typeof pods)[number], (typeof pods)[number]];
  let established = 0;
  for (let time = 0; time < times; time++) {
    // New ones each time: nothing is known yet at first contact.
    const [ofClient, ofServer] = [
      new TokenVerifier(bundle, undefined, curves),
      new TokenVerifier(bundle, undefined, curves),
    ];
    const both = { carrier: 'stream', wishes: { encryption: 'none' } } as const;
    const clientContext: ClientContext<ProvenIdentity> = {
      ...both,
      credentials: client,
      admissionKey: key,
      randomness: drawRandomness(curves.generateEphemeral),
      destination: DESTINATION,
      toSelf: false,
      offers: [],
      verify: (token) => ofClient.verify(token, clock.epochSeconds),
      remember: () => {},
    };
    const serverContext: ServerContext<ProvenIdentity> = {
      ...both,
      credentials: server,
      admissionKeys: [key],
      randomness: drawRandomness(curves.generateEphemeral),
      verify: (token) => ofServer.verify(token, clock.epochSeconds),
      explainUnadmitted: () => ({ reason: 'token-untrusted', detail: 'a rehearsal' }),
      ownsDestination: ({ address }) => address === DESTINATION.address,
      isOwnHello: () => false,
      sessions: { find: () => undefined, add: () => {} },
      recentNonces: new RecentNonces(),
    };
    if (play(clientContext, serverContext, clock)) established++;
  }
  return established;
}

/** @returns whether both sides hold it for established */
function play(
  clientContext: ClientContext<ProvenIdentity>,
  serverContext: ServerContext<ProvenIdentity>,
  clock: Clock,
): boolean {
  const started = startClient(clientContext);
  let clientState = started.state;
  let serverState = startServer<ProvenIdentity>();
  let established = 0;
  type Hear = (event: HandshakeEvent) => void;
  const onClient: Hear = (event) => {
    const next = stepClient(clientState, event, clientContext, clock);
    clientState = next.state;
    carry(next.effects, onClient, onServer);
  };
  const onServer: Hear = (event) => {
    const next = stepServer(serverState, event, serverContext, clock);
    serverState = next.state;
    carry(next.effects, onServer, onClient);
  };
  const carry = (effects: readonly Effect<ProvenIdentity>[], own: Hear, other: Hear): void => {
    for (const effect of effects) {
      if (effect.kind === 'send') other({ kind: 'frame', bytes: effect.bytes });
      if (effect.kind === 'judge') own({ kind: 'judged', verdict: { allow: true } });
      if (effect.kind === 'established') established++;
    }
  };
  carry(started.effects, onClient, onServer);
  return established === 2;
}
