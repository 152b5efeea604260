/** What an application sees of TCP between real sidecars, in every pair of modes: half-close, fast and tiny closes, resets, who speaks first, backpressure, refusal. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { Applications, PORT } from '../support/application-semantics.ts';
import type { FlowRecord } from '../../src/observe/record.ts';
import { cannotNetns } from '../support/netns.ts';
import { realPrograms } from '../support/real-programs.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const MB = 1 << 20;
const CHUNK = 64 << 10;
const MOST_CHUNKS = (80 * MB) / CHUNK;
const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

for (const [client, mode] of [
  ['redirect', 'redirect'],
  ['nfqueue', 'nfqueue'],
  ['nfqueue', 'redirect'],
  ['redirect', 'nfqueue'],
] as const) {
  t.test(`client in ${client} mode, server in ${mode} mode`, { skip, timeout: 300_000 }, async (t) => {
    const cluster = new Cluster(t);
    const server = cluster.pod('server', { labels: { app: 'server' }, mode });
    cluster.pod('client', { labels: { drinks: 'beer' }, mode: client });
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
    await cluster.startSidecars('server', 'client');
    const applications = new Applications(cluster, server.four);
    await applications.start();

    t.test('half-close: a server that hears the end answers, and one that ends first reads on', async (t) => {
      const sent = 'x'.repeat(200_000);
      t.strictSame(
        await applications.client(`
          const asking = connect(${PORT.answersAtEnd}); asking.end('x'.repeat(200000)); const how = await asking.over;
          const late = connect(${PORT.endsFirst}); const first = await late.over; late.end('x'.repeat(200000)); await once(late, 'close');
          return { how, heard: asking.heard, first, greeted: late.heard };`),
        { how: 'end', heard: sha256(sent), first: 'end', greeted: 'hello' },
      );
      const whole = [{ got: sent.length, sha256: sha256(sent), how: 'end' }];
      t.strictSame(await applications.told(PORT.answersAtEnd), whole);
      t.strictSame(await applications.told(PORT.endsFirst), whole);
    });

    t.test('a fast close: what was written before it arrives whole, then the end', async (t) => {
      const count = 20;
      await applications.client(`
        await Promise.all(Array.from({ length: ${count} }, () => { const s = connect(${PORT.reads}); s.end('y'.repeat(30000), () => s.destroy()); return once(s, 'close'); }));`);
      const whole = { got: 30_000, sha256: sha256('y'.repeat(30_000)), how: 'end' };
      t.strictSame(
        await applications.told(PORT.reads, count),
        Array.from({ length: count }, () => whole),
      );
    });

    t.test('a tiny close: one byte and the end, and an end without a byte', async (t) => {
      for (const text of ['z', '']) {
        await applications.client(`
          await Promise.all(Array.from({ length: 10 }, () => { const s = connect(${PORT.reads}); s.end('${text}'); return s.over; }));`);
        const whole = { got: text.length, sha256: sha256(text), how: 'end' };
        t.strictSame(
          await applications.told(PORT.reads, 10),
          Array.from({ length: 10 }, () => whole),
        );
      }
    });

    t.test('a reset of the server reaches the client, and one of the client the server', async (t) => {
      t.strictSame(
        await applications.client(`
          const s = connect(${PORT.resetsAtFirstByte}); s.write('x'); const how = await s.over;
          const own = connect(${PORT.speaksFirst}); own.write('hello');
          while (!own.heard.endsWith('hello')) await once(own, 'data');
          own.resetAndDestroy(); await once(own, 'close');
          return { how };`),
        { how: 'ECONNRESET' },
      );
      t.match(await applications.told(PORT.speaksFirst), [{ got: 5, how: 'ECONNRESET' }]);
    });

    t.test('a server that speaks first is heard before a byte of the client', async (t) => {
      t.strictSame(
        await applications.client(`
          const s = connect(${PORT.speaksFirst}); await once(s, 'data'); const first = s.heard;
          s.end('QUIT'); await s.over; return { first, all: s.heard };`),
        { first: '220 ready', all: '220 readyQUIT' },
      );
    });

    t.test('backpressure: a server that does not read stops the client, and nothing is lost', async (t) => {
      const { sent, stopped } = (await applications.client(`
        const s = connect(${PORT.sleeps}), chunk = Buffer.alloc(${CHUNK}, 'b'); let sent = 0;
        const taken = () => sent * chunk.length - s.writableLength;
        for (let before = 0; sent < ${MOST_CHUNKS} && (before === 0 || taken() > before); ) {
          before = taken();
          // As much as is taken within half a second, until nothing more is.
          for (const begun = performance.now(); sent < ${MOST_CHUNKS} && performance.now() < begun + 500; ) {
            while (sent < ${MOST_CHUNKS} && s.writableLength < ${MB}) { s.write(chunk); sent++; }
            await new Promise((later) => setTimeout(later, 1));
          }
        }
        const stopped = taken();
        await connect(${PORT.wakes}).over;
        s.end(); await s.over;
        return { sent, stopped };`)) as { sent: number; stopped: number };
      t.ok(stopped < 64 * MB, `${stopped} bytes were taken`);
      const bytes = Buffer.alloc(sent * CHUNK, 'b');
      t.strictSame(await applications.told(PORT.sleeps), [
        { got: bytes.length, sha256: sha256(bytes), how: 'end' },
      ]);
    });

    t.test('curl, a server of Python that closes, uploads, and mail go their way', (t) =>
      realPrograms(t, cluster),
    );

    t.test(
      'a port where nobody listens: the client is told at once, and both sidecars say why',
      async (t) => {
        for (const attempt of ['first', 'resumed']) {
          const how = await applications.client(`return connect(${PORT.closed}).over;`);
          // The kernel of the server says it where both have queues; else, and to a call that was late, a listener that has accepted by then.
          t.match(how, /^(ECONNREFUSED|ECONNRESET)$/, attempt);
        }
        const isIt = ({ destination }: FlowRecord): boolean => destination.port === PORT.closed;
        const told = (pod: string, why: string): number =>
          cluster.flows(pod).filter((one) => isIt(one) && one.reason === why).length;
        await until('the server has told of both', () => told('server', 'dial-failed') >= 2);
        await until('and so has the client', () => told('client', 'refused-by-peer') >= 2);
        for (const pod of ['client', 'server']) {
          const allowed = cluster.flows(pod).filter((one) => isIt(one) && one.verdict === 'allow');
          t.strictSame(allowed, [], pod);
        }
      },
    );
  });
}
