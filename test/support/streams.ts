/** Short streams with random content, whose hash the receiving application tells: one byte too much or too few shows. */

/** An application that answers a stream with the SHA-256 of what it got, and remembers how many there were. */
export const HASHING_SERVER = (port: number): string => `
require('net').createServer({ allowHalfOpen: true }, (s) => {
  const hash = require('crypto').createHash('sha256');
  s.on('data', (d) => hash.update(d)).on('end', () => s.end(hash.digest('hex'))).on('error', () => {});
}).listen({ port: ${port}, host: '::', backlog: 4096 }, () => console.log('up'))`;

/** How streams went: with the right hash, with a wrong one, and by the error of the others. */
export interface StreamCounts {
  readonly right: number;
  readonly wrong: number;
  readonly errors: Readonly<Record<string, number>>;
}

/** A program that makes streams to these hosts in turn, some at a time, and prints {@link StreamCounts} at its end. */
export const STREAMING_CLIENT = (options: {
  readonly hosts: readonly string[];
  readonly port: number;
  readonly count: number;
  readonly atOnce: number;
  readonly mostBytes: number;
  /** Of one stream. */
  readonly timeoutMs: number;
}): string => `
const { hosts, port, count, atOnce, mostBytes, timeoutMs } = ${JSON.stringify(options)};
const crypto = require('crypto');
let begun = 0, ended = 0;
const result = { right: 0, wrong: 0, errors: {} };
function one() {
  if (begun === count) return;
  const host = hosts[begun++ % hosts.length];
  const bytes = crypto.randomBytes(crypto.randomInt(1, mostBytes));
  const expected = crypto.createHash('sha256').update(bytes).digest('hex');
  let got = '', done = false;
  const s = require('net').connect({ host, port, allowHalfOpen: true });
  const finish = (how) => {
    if (done) return;
    done = true; clearTimeout(timer); s.destroy();
    if (how === 'end') { if (got === expected) result.right++; else result.wrong++; }
    else result.errors[how] = (result.errors[how] ?? 0) + 1;
    if (++ended === count) console.log(JSON.stringify(result)); else one();
  };
  const timer = setTimeout(finish, timeoutMs, 'timeout');
  s.on('connect', () => s.end(bytes)).on('data', (d) => got += d).on('end', () => finish('end')).on('error', (e) => finish(e.code));
}
for (let i = 0; i < atOnce; i++) one();`;
