/**
 * Programs for the applications of a test: a server that keeps what each connection said and answers with its digest, and a client that makes many short
 * connections and checks those digests. Sources for {@link Cluster.app} and {@link Cluster.node}.
 */

/** Answers each connection, when the client has ended its side, with the SHA-256 of what it read, and a line with the peer's address. */
export const DIGEST_SERVER = (port: number): string => `
const { createHash } = require('crypto');
require('net').createServer({ allowHalfOpen: true }, (socket) => {
  const hash = createHash('sha256');
  socket.on('data', (chunk) => hash.update(chunk));
  socket.on('end', () => socket.end(hash.digest('hex') + ' ' + socket.remoteAddress + '\\n'));
  socket.on('error', () => {});
}).listen({ port: ${port}, host: '::', backlog: 4096 }, () => console.log('up'));`;

/** Makes \`count\` connections, so many at once; prints how many were right, how many were refused or lost, and what went wrong else. */
export const DIGEST_CLIENT = (host: string, port: number, count: number, atOnce: number): string => `
const { createHash, randomBytes } = require('crypto');
const outcome = { right: 0, wrong: [], errors: {} };
let started = 0, running = 0;
function next() {
  while (running < ${atOnce} && started < ${count}) one(started++);
  if (running === 0) console.log(JSON.stringify(outcome));
}
function one(number) {
  running++;
  const data = randomBytes(1 + number % 5000);
  const expected = createHash('sha256').update(data).digest('hex');
  let heard = '', error;
  const socket = require('net').connect({ host: '${host}', port: ${port} }, () => socket.end(data));
  socket.on('data', (chunk) => { heard += chunk; });
  socket.on('error', (failure) => { error = failure.code; });
  socket.on('close', () => {
    running--;
    if (error !== undefined) outcome.errors[error] = (outcome.errors[error] ?? 0) + 1;
    else if (heard.split(' ')[0] === expected) outcome.right++;
    else outcome.wrong.push(heard.slice(0, 80));
    next();
  });
}
next();`;

/** What {@link DIGEST_CLIENT} prints. */
export interface DigestOutcome {
  readonly right: number;
  readonly wrong: readonly string[];
  readonly errors: Readonly<Record<string, number>>;
}
