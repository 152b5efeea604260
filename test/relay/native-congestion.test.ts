import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { ImpairedLink } from '../support/impaired-link.ts';
import { cannotNetns, TestNetwork } from '../support/netns.ts';

const PORT = 15_006;
const skip = cannotNetns();
/** Between namespaces of one host most handshakes take a fraction of a millisecond; on a busy machine not each. */
const CONNECTIONS = 20;
/** What a network namespace may have. */
const allowed = readFileSync('/proc/sys/net/ipv4/tcp_allowed_congestion_control', 'utf8').trim().split(' ');

/** Which congestion controls the legs of connections have that two data paths relay, where this is the system's. */
async function legs(
  t: Test,
  system: string,
  delayMs?: number,
): Promise<Record<'local' | 'dialled' | 'accepted', string[]>> {
  const network = new TestNetwork(t);
  const client = network.host('client');
  const server = network.host('server');
  for (const host of ['client', 'server']) network.sysctl(host, 'net.ipv4.tcp_congestion_control', system);
  if (delayMs !== undefined) {
    await ImpairedLink.between(
      network,
      { host: 'client', ...client },
      { host: 'server', ...server },
      { delayMs },
    );
  }
  const start = (host: string, script: string, ...args: string[]): AsyncIterator<string> => {
    const child = network.start(host, [process.execPath, join(import.meta.dirname, script), ...args]);
    child.stderr!.pipe(process.stderr);
    return createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  };
  const next = async (lines: AsyncIterator<string>): Promise<unknown> =>
    JSON.parse(((await lines.next()) as { value?: string }).value ?? 'null');
  const accepting = start('server', 'far-server.ts', '0.0.0.0', String(PORT));
  await next(accepting);
  const calling = start('client', 'far-legs.ts', server.four, String(PORT), String(CONNECTIONS));
  const own = (await next(calling)) as { port: number; error: unknown };
  t.equal(own.error, null, 'all were dialled');
  for (let count = 0; count < CONNECTIONS; count++) {
    t.match(await next(accepting), { kind: 'accepted' });
  }
  const of = async (host: string, filter: string): Promise<string[]> => {
    const command = ['ss', '-Htni', 'state', 'established', ...filter.split(' ')];
    const { out } = await network.run(host, command);
    const found = out
      .split('\n')
      .flatMap((line) => allowed.filter((name) => line.split(/\s+/).includes(name)));
    t.equal(found.length, CONNECTIONS, 'every connection is seen');
    return [...new Set(found)].sort();
  };
  return {
    local: await of('client', `sport = :${own.port}`),
    dialled: await of('client', `dport = :${PORT}`),
    accepted: await of('server', `sport = :${PORT}`),
  };
}

t.test('native data path: where the system has BBR, legs to near peers go by Reno', { skip }, async (t) => {
  if (!allowed.includes('bbr')) {
    t.pass('this kernel has no BBR');
    return;
  }
  const { local, dialled, accepted } = await legs(t, 'bbr');
  t.strictSame(local, ['reno']);
  t.ok(dialled.includes('reno'), `dialled: ${dialled.join()}`);
  t.ok(accepted.includes('reno'), `accepted: ${accepted.join()}`);
});

t.test(
  'native data path: a leg over a link with a delay keeps the BBR of the system',
  { skip },
  async (t) => {
    if (!allowed.includes('bbr')) {
      t.pass('this kernel has no BBR');
      return;
    }
    t.strictSame(await legs(t, 'bbr', 5), { local: ['reno'], dialled: ['bbr'], accepted: ['bbr'] });
  },
);

t.test('native data path: any other congestion control of the system stays', { skip }, async (t) => {
  const other = allowed.find((name) => name !== 'bbr' && name !== 'reno');
  if (other === undefined) {
    t.pass('namespaces may have BBR and Reno alone here');
    return;
  }
  t.strictSame(await legs(t, other), { local: [other], dialled: [other], accepted: [other] });
});
