/** A sidecar with as many connections as it may have, in both modes, between real pods: one client cannot take all, open ones go on, one that ends leaves room. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);
const MOST = 16;
const SHARE = 12;
const PORT = 9000;
const ECHO = `require('net').createServer((s) => { s.on('error', () => {}); s.on('data', (d) => s.write(d)); })
  .listen({ port: ${PORT}, host: '::' }, () => console.log('up'))`;

/** Opens connections, says a byte on each that is open, closes one; tells after each word how many were ever answered, how many are open, and the answers so far. */
const holder = (host: string): string => `
  const open = new Set(); let answered = 0, answers = 0;
  const one = () => {
    const s = require('net').connect(${PORT}, '${host}', () => s.write('x'));
    s.once('data', () => { answered++; open.add(s); }).on('data', () => { answers++; });
    s.on('error', () => {}).on('close', () => open.delete(s));
  };
  require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [word, count] = line.split(' ');
    if (word === 'open') for (let at = 0; at < Number(count); at++) one();
    if (word === 'say') for (const s of open) s.write('y');
    if (word === 'close') [...open][0].destroy();
    console.log(JSON.stringify({ answered, open: open.size, answers }));
  });`;

class Holder {
  readonly #child;
  readonly #lines;

  constructor(cluster: Cluster, pod: string, host: string) {
    this.#child = cluster.network.start(pod, [`${cluster.program}/.setup/node`, '-e', holder(host)], 1_000);
    this.#child.stderr!.resume();
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async say(word: string): Promise<{ answered: number; open: number; answers: number }> {
    this.#child.stdin!.write(`${word}\n`);
    const { value } = (await this.#lines.next()) as { value: string };
    return JSON.parse(value) as { answered: number; open: number; answers: number };
  }

  async becomes(
    what: string,
    holds: (told: { answered: number; open: number; answers: number }) => boolean,
  ): Promise<void> {
    await until(what, async () => holds(await this.say('look')));
  }
}

async function beyond(cluster: Cluster, limit: string): Promise<number> {
  const { out } = await cluster.curl('server', 'http://127.0.0.1:14020/metrics');
  const line = new RegExp(
    `^countersign_connections_beyond_limit_total\\{direction="inbound",limit="${limit}"\\} (\\d+)$`,
    'm',
  );
  const other = new RegExp(
    `^countersign_connections_beyond_limit_total\\{limit="${limit}",direction="inbound"\\} (\\d+)$`,
    'm',
  );
  return Number((line.exec(out) ?? other.exec(out))?.[1]);
}

async function scenario(t: Test, mode: 'redirect' | 'nfqueue'): Promise<void> {
  const cluster = new Cluster(t);
  const { four } = cluster.pod('server', { labels: { app: 'server' }, mode });
  for (const name of ['greedy', 'other']) cluster.pod(name, { labels: { drinks: 'beer' }, mode });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await Promise.all([
    cluster.startSidecar('server', ['--max-connections', String(MOST)]),
    cluster.startSidecars('greedy', 'other'),
  ]);
  await cluster.app('server', ECHO);
  const greedy = new Holder(cluster, 'greedy', four);
  const other = new Holder(cluster, 'other', four);

  // No more at once than may be strangers still.
  for (const many of [SHARE / 2, SHARE]) {
    await greedy.say(`open ${SHARE / 2}`);
    await greedy.becomes('it is let in', ({ open }) => open === many);
  }
  await greedy.say('open 8');
  await until('one source is refused beyond its share', async () => (await beyond(cluster, 'source')) >= 8);
  await greedy.becomes('it has its share', ({ open }) => open === SHARE);
  await other.say(`open ${MOST - SHARE}`);
  await other.becomes('another one has the rest', ({ open }) => open === MOST - SHARE);
  await other.say('open 1');
  await until('nobody is let in beyond the bound', async () => (await beyond(cluster, 'all')) >= 1);
  t.equal((await other.say('look')).open, MOST - SHARE);

  const { answers } = await greedy.say('say');
  await greedy.becomes('open ones go on', (told) => told.answers >= answers + SHARE);
  t.match(
    await cluster.ready('server'),
    /^ready/,
    'the sidecar is ready, and its rules are seen to be in force',
  );
  await until('the log says who has most', () =>
    cluster
      .log('server')
      .split('\n')
      .some((line) => line.includes('"reason":"connection-limit"') && line.includes('"fullest_source"')),
  );

  await other.say('close');
  // Who was refused calls again; in NFQUEUE mode the SYN may also have been said again by TCP.
  await until('one that ends leaves room for one', async () => {
    if ((await other.say('look')).answered > MOST - SHARE) return true;
    await other.say('open 1');
    await sleep(200);
    return false;
  });
  await other.becomes('one that ends leaves room for one', ({ answered }) => answered === MOST - SHARE + 1);
  t.equal((await greedy.say('look')).open, SHARE);
  if (mode === 'redirect') {
    const denied = await cluster.flow('server', ({ reason }) => reason === 'connection-limit');
    t.match(denied, { verdict: 'deny', direction: 'inbound' });
  }
  const { out } = await cluster.curl('server', 'http://127.0.0.1:14020/metrics');
  t.match(out, new RegExp(`^countersign_connection_limit ${MOST}$`, 'm'));
}

t.test(
  'connection limit: strangers of several pods hold half of the bound at most, and who proves itself gets in meanwhile',
  { skip, timeout: 290_000 },
  async (t) => {
    const cluster = new Cluster(t);
    const { four } = cluster.pod('server', { labels: { app: 'server' } });
    cluster.pod('friend', { labels: { drinks: 'beer' } });
    // Marked as enrolled and without a sidecar: they are heard for as long as anybody is.
    const strangers = ['one', 'two', 'three'];
    for (const name of strangers) cluster.pod(name);
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
    const most = 64;
    await Promise.all([
      cluster.startSidecar('server', ['--max-connections', String(most)]),
      cluster.startSidecars('friend'),
    ]);
    await cluster.app('server', ECHO);
    const crowd = `const one = () => { const s = require('net').connect(${PORT}, '${four}');
        s.on('error', () => {}).on('close', () => setTimeout(one, 1_000)); };
      for (let at = 0; at < ${most}; at++) one(); console.log('calling');`;
    for (const name of strangers) {
      const child = cluster.network.start(name, [`${cluster.program}/.setup/node`, '-e', crowd], 1_000);
      t.teardown(() => child.kill('SIGKILL'));
      await once(child.stdout!, 'data');
    }
    const halfOpen = async (): Promise<number> => {
      const { out } = await cluster.curl('server', 'http://127.0.0.1:14020/metrics');
      return Number(/^countersign_half_open_connections (\d+)$/m.exec(out)?.[1]);
    };
    await until('strangers have nearly all places that there are for them', async () => {
      const held = await halfOpen();
      t.ok(held <= most / 2, `${held} places`);
      return held > most / 4;
    });
    // The newest of a crowd puts out its oldest, who may be a friend on a slow machine: it calls again.
    const { out } = await cluster.node(
      'friend',
      `const net = require('net');
       const one = () => new Promise((done) => {
         const s = net.connect(${PORT}, '${four}', () => s.write('x'));
         let answered = false;
         s.once('data', () => { answered = true; s.destroy(); }).on('error', () => {}).on('close', () => done(answered));
       });
       (async () => {
         let answered = 0;
         for (let at = 0; at < 20; at++)
           for (let tries = 0; tries < 20; tries++)
             if (await one()) { answered++; break; } else await new Promise((go) => setTimeout(go, 100));
         console.log(answered);
       })();`,
      120_000,
    );
    t.equal(out.trim(), '20');
    const held = await halfOpen();
    t.ok(held <= most / 2, `${held} places`);
  },
);

for (const mode of ['redirect', 'nfqueue'] as const)
  t.test(
    `connection limit: in ${mode} mode one client has its share, and nobody gets in beyond the bound`,
    { skip, timeout: 290_000 },
    (t) => scenario(t, mode),
  );
