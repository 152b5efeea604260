import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { type ClientContext, type ClientState, startClient, stepClient } from '../../src/handshake/client.ts';
import type { PeerIdentity, VerifyToken } from '../../src/handshake/credentials.ts';
import { drawRandomness } from '../../src/handshake/ephemeral.ts';
import type { Clock, Denied, Effect, Failure } from '../../src/handshake/outcome.ts';
import { RecentNonces } from '../../src/handshake/recent-nonces.ts';
import { type ServerContext, type ServerState, startServer, stepServer } from '../../src/handshake/server.ts';
import { ClientSessions, ServerSessions } from '../../src/handshake/sessions.ts';
import type { Endpoint } from '../../src/lib/address.ts';
import type { SigningKey } from '../../src/lib/curves.ts';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';

export interface Name extends PeerIdentity {
  readonly name: string;
}

/** A pod with a key and a token; the tokens of a world are random bytes that its verifier knows. */
export interface Party {
  readonly name: string;
  readonly token: Uint8Array;
  readonly privateKey: SigningKey;
  readonly publicKey: KeyObject;
  readonly address: Endpoint;
  readonly clientSessions: ClientSessions<Name>;
  readonly serverSessions: ServerSessions<Name>;
  readonly recentNonces: RecentNonces;
}

export class World {
  readonly #known = new Map<string, Name>();
  readonly admissionKey = randomBytes(32);
  readonly carrier: 'stream' | 'syn';
  clock: Clock = { monotonic: 1_000_000, epochSeconds: 1_800_000_000 };

  /** @param carrier what its handshakes travel on */
  constructor(carrier: 'stream' | 'syn' = 'stream') {
    this.carrier = carrier;
  }

  party(name: string, address: string, options: { trusted?: boolean; expiresIn?: number } = {}): Party {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const token = randomBytes(300);
    if (options.trusted !== false) {
      this.#known.set(token.toString('hex'), {
        name,
        podUid: `uid-${name}`,
        publicKey: NODE_CURVES.verifyingKeyOf(pair.publicKey),
        expiresAt: this.clock.epochSeconds + (options.expiresIn ?? 14_400),
      });
    }
    return {
      name,
      token,
      publicKey: pair.publicKey,
      privateKey: NODE_CURVES.signingKeyOf(pair.privateKey),
      address: { address, port: 80 },
      clientSessions: new ClientSessions(),
      serverSessions: new ServerSessions(),
      recentNonces: new RecentNonces(),
    };
  }

  readonly verify: VerifyToken<Name> = (token) => {
    const identity = this.#known.get(Buffer.from(token).toString('hex'));
    if (identity === undefined) return { refusal: { reason: 'token-untrusted', detail: 'unknown token' } };
    if (identity.expiresAt <= this.clock.epochSeconds) {
      return { refusal: { reason: 'token-expired', detail: 'past its end' } };
    }
    return { identity };
  };

  client(party: Party, to: Endpoint, changes: Partial<ClientContext<Name>> = {}): ClientContext<Name> {
    const key = `${to.address}:${to.port}`;
    return {
      credentials: credentials(party, this.clock),
      admissionKey: this.admissionKey,
      randomness: drawRandomness(),
      carrier: this.carrier,
      wishes: { encryption: 'none' },
      destination: to,
      toSelf: false,
      offers: party.clientSessions.offer(key, this.clock.monotonic),
      verify: this.verify,
      remember: (session) => party.clientSessions.add(key, session),
      ...changes,
    };
  }

  server(party: Party, changes: Partial<ServerContext<Name>> = {}): ServerContext<Name> {
    return {
      credentials: credentials(party, this.clock),
      admissionKeys: [randomBytes(32), this.admissionKey],
      randomness: drawRandomness(),
      carrier: this.carrier,
      wishes: { encryption: 'none' },
      verify: this.verify,
      explainUnadmitted: () => ({ reason: 'token-untrusted', detail: 'not admitted' }),
      ownsDestination: (destination) =>
        destination.address === party.address.address && destination.port === party.address.port,
      isOwnHello: () => false,
      sessions: party.serverSessions,
      recentNonces: party.recentNonces,
      ...changes,
    };
  }
}

function credentials(party: Party, clock: Clock) {
  return {
    token: party.token,
    privateKey: party.privateKey,
    expiresAt: clock.epochSeconds + 14_400,
    podUid: `uid-${party.name}`,
  };
}

export type Verdict = { readonly allow: true } | Denied;
export const ALLOW: Verdict = { allow: true };

/** One end of a conversation, with the machine's effects carried out as its driver would. */
export class ClientEnd {
  #state: ClientState<Name>;
  readonly context: ClientContext<Name>;
  readonly effects: Effect<Name>[] = [];
  readonly #clock: Clock;
  readonly #judge: (peer: Name) => Verdict;
  out: Uint8Array[] = [];

  constructor(context: ClientContext<Name>, clock: Clock, judge: (peer: Name) => Verdict = () => ALLOW) {
    this.context = context;
    this.#clock = clock;
    this.#judge = judge;
    const started = startClient(context);
    this.#state = started.state;
    this.#take(started.effects);
  }

  receive(bytes: Uint8Array): void {
    const next = stepClient(this.#state, { kind: 'frame', bytes }, this.context, this.#clock);
    this.#state = next.state;
    this.#take(next.effects);
  }

  #take(effects: readonly Effect<Name>[]): void {
    for (const effect of effects) {
      this.effects.push(effect);
      if (effect.kind === 'send') this.out.push(effect.bytes);
      if (effect.kind === 'judge') {
        const event = { kind: 'judged', verdict: this.#judge(effect.peer) } as const;
        const next = stepClient(this.#state, event, this.context, this.#clock);
        this.#state = next.state;
        this.#take(next.effects);
      }
    }
  }
}

export class ServerEnd {
  #state: ServerState<Name> = startServer();
  readonly context: ServerContext<Name>;
  readonly effects: Effect<Name>[] = [];
  readonly #clock: Clock;
  readonly #judge: (peer: Name) => Verdict;
  out: Uint8Array[] = [];

  constructor(context: ServerContext<Name>, clock: Clock, judge: (peer: Name) => Verdict = () => ALLOW) {
    this.context = context;
    this.#clock = clock;
    this.#judge = judge;
  }

  receive(bytes: Uint8Array): void {
    const next = stepServer(this.#state, { kind: 'frame', bytes }, this.context, this.#clock);
    this.#state = next.state;
    this.#take(next.effects);
  }

  #take(effects: readonly Effect<Name>[]): void {
    for (const effect of effects) {
      this.effects.push(effect);
      if (effect.kind === 'send') this.out.push(effect.bytes);
      if (effect.kind === 'judge') {
        const event = { kind: 'judged', verdict: this.#judge(effect.peer) } as const;
        const next = stepServer(this.#state, event, this.context, this.#clock);
        this.#state = next.state;
        this.#take(next.effects);
      }
    }
  }
}

/** Carries frames between the ends until nobody has more to say. `tamper` sees every frame and may change or drop it. */
export function converse(
  client: ClientEnd,
  server: ServerEnd,
  tamper: (frame: Uint8Array, from: 'client' | 'server', index: number) => Uint8Array | undefined = (f) => f,
): { frames: Uint8Array[] } {
  const frames: Uint8Array[] = [];
  for (let index = 0; ; index++) {
    const fromClient = client.out.shift();
    const frame = fromClient ?? server.out.shift();
    if (frame === undefined) return { frames };
    frames.push(frame);
    const from = fromClient === undefined ? 'server' : 'client';
    const given = tamper(frame, from, index);
    if (given === undefined) continue;
    if (from === 'client') server.receive(given);
    else client.receive(given);
  }
}

export function established(end: ClientEnd | ServerEnd): string | undefined {
  const effect = end.effects.find((one) => one.kind === 'established');
  return effect?.kind === 'established' ? `${effect.handshake} ${effect.peer.name}` : undefined;
}

export function failure(end: ClientEnd | ServerEnd): Failure<Name> | undefined {
  return end.effects.find((one): one is Failure<Name> => one.kind === 'failed');
}

export function forwards(end: ClientEnd | ServerEnd): boolean {
  return end.effects.some((one) => one.kind === 'forward');
}
