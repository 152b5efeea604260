import { join } from 'node:path';
import type { Cluster } from './sidecars.ts';
import { until } from './until.ts';

/** How a connection ended for the application that tells of it: `end`, or the code of an error. */
interface Told {
  readonly got: number;
  readonly sha256: string;
  readonly how: string;
}

/** What each port of {@link SERVER} does. */
export const PORT = {
  /** Reads to the end, then answers with the hash of it. */
  answersAtEnd: 9001,
  /** Says `hello`, ends its half, and reads on. */
  endsFirst: 9002,
  reads: 9003,
  resetsAtFirstByte: 9004,
  /** Speaks before it is spoken to, then repeats what it hears. */
  speaksFirst: 9005,
  /** Reads nothing before somebody connects to {@link PORT.wakes}. */
  sleeps: 9006,
  wakes: 9007,
  /** Nobody listens. */
  closed: 9008,
} as const;

/** Each line that it prints is a port and {@link Told}. */
const SERVER = `
const net = require('net'), crypto = require('crypto');
const asleep = [];
const on = (port, what) => new Promise((done) => net.createServer({ allowHalfOpen: true }, (s) => {
  const hash = crypto.createHash('sha256'); let got = 0, told = false;
  const tell = (how) => { if (!told) console.log(JSON.stringify({ port, got, sha256: hash.digest('hex'), how })); told = true; };
  s.on('data', (d) => { got += d.length; hash.update(d); }).on('end', () => tell('end')).on('error', (e) => tell(e.code));
  what(s, () => hash.copy().digest('hex'));
}).listen({ port, host: '::', backlog: 4096 }, done));
Promise.all([
  on(${PORT.answersAtEnd}, (s, hash) => s.prependListener('end', () => s.end(hash()))),
  on(${PORT.endsFirst}, (s) => s.end('hello')),
  on(${PORT.reads}, (s) => s.on('end', () => s.end())),
  on(${PORT.resetsAtFirstByte}, (s) => s.once('data', () => s.resetAndDestroy())),
  on(${PORT.speaksFirst}, (s) => { s.write('220 ready'); s.on('data', (d) => s.write(d)).on('end', () => s.end()); }),
  on(${PORT.sleeps}, (s) => { s.pause(); asleep.push(s); s.on('end', () => s.end()); }),
  on(${PORT.wakes}, (s) => { for (const one of asleep.splice(0)) one.resume(); s.end(); }),
]).then(() => console.log('up'));`;

/** A server application that behaves in every way that TCP allows, in a pod that is named `server`, and clients of it. */
export class Applications {
  readonly #cluster: Cluster;
  readonly #host: string;
  readonly #told: ({ readonly port: number } & Told)[] = [];

  constructor(cluster: Cluster, host: string) {
    this.#cluster = cluster;
    this.#host = host;
  }

  async start(): Promise<void> {
    const node = join(this.#cluster.program, '.setup/node');
    const server = this.#cluster.network.start('server', [node, '-e', SERVER], 1_000);
    let [isUp, rest] = [false, ''];
    server.stdout!.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (line === 'up') isUp = true;
        else this.#told.push(JSON.parse(line) as { port: number } & Told);
      }
    });
    await until('the application listens', () => isUp);
  }

  /** What the server says of the next `count` connections to a port that it has seen the end of. */
  async told(port: number, count = 1): Promise<Told[]> {
    const of = (): Told[] => this.#told.filter((one) => one.port === port);
    await until(`the server has seen the end of ${count} connections to ${port}`, () => of().length >= count);
    const told = of().map(({ got, sha256, how }) => ({ got, sha256, how }));
    this.#told.splice(0, this.#told.length, ...this.#told.filter((one) => one.port !== port));
    return told;
  }

  /**
   * Runs a client to its end. @param body of an async function with `connect(port)`, which gives a half-open socket that collects what it hears in
   * `heard` and has a promise `over` of how it ended, `sha256(bytes)`, and `ended(event, emitter)`; what it returns is told as JSON
   */
  async client(body: string): Promise<unknown> {
    const source = `
const net = require('net'), crypto = require('crypto');
const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
const once = require('events').once;
const connect = (port) => {
  const s = net.connect({ port, host: '${this.#host}', allowHalfOpen: true }); s.heard = '';
  s.over = new Promise((done) => s.on('data', (d) => s.heard += d).on('end', () => done('end')).on('error', (e) => done(e.code)));
  return s;
};
(async () => { ${body} })().then((result = null) => { console.log(JSON.stringify(result)); process.exit(); });`;
    const { out, complaint } = await this.#cluster.node('client', source, 120_000);
    if (out === '') throw new Error(`the client said nothing in two minutes: ${complaint}`);
    return JSON.parse(out);
  }
}
