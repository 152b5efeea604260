/** Two applications that call each other on the same ports at once: both are told within bounded time, by an error, whatever mode the sidecars run in. */
import t, { type Test } from 'tap';
import { ImpairedLink } from '../support/impaired-link.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster, HTTP_APP } from '../support/sidecars.ts';
import { SIMULTANEOUS_OPEN } from '../support/simultaneous-opens.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);
/** One way, so long that SYNs cross although one program is late. */
const DELAY_MS = 200;
const ROUNDS = 8;

t.test('simultaneous open', { skip, timeout: 500_000 }, async (t) => {
  const cluster = new Cluster(t);
  const labels = { drinks: 'beer', app: 'peer' };
  const center = cluster.pod('center', { labels, mode: 'nfqueue' });
  const peers = {
    'in NFQUEUE mode': { name: 'queued', ...cluster.pod('queued', { labels, mode: 'nfqueue' }) },
    'in redirect mode': { name: 'redirected', ...cluster.pod('redirected', { labels }) },
    'whom policy denies': {
      name: 'denied',
      ...cluster.pod('denied', { labels: { app: 'peer' }, mode: 'nfqueue' }),
    },
  };
  const names = ['center', ...Object.values(peers).map(({ name }) => name)];
  cluster.write('policy.yaml', ALLOW_LABEL('peer', 'drinks', 'beer'));
  await cluster.startSidecars(...names);
  for (const name of names) await cluster.app(name, HTTP_APP(name));
  for (const { name, four, six } of Object.values(peers)) {
    const [here, there] = [
      { host: 'center', ...center },
      { host: name, four, six },
    ];
    await ImpairedLink.between(cluster.network, here, there, { delayMs: DELAY_MS });
  }

  let ports = 5_000;
  /** Families over which SYNs met on their way; where the machine is slow that may take some rounds, or turn a call to the stream carrier. */
  const metOver = new Set<string>();
  type Peer = (typeof peers)[keyof typeof peers];
  /** Both call each other on the same ports at once. */
  // Two seconds are for the programs to start.
  const open = async (peer: Peer, family: 'four' | 'six', port: number): Promise<readonly string[]> => {
    const at = Date.now() / 1000 + 2;
    const ends = [
      ['center', peer[family]],
      [peer.name, center[family]],
    ] as const;
    const told = ends.map(([from, to]) =>
      cluster.network.run(from, ['python3', '-c', SIMULTANEOUS_OPEN(to, port, at)], { timeoutMs: 120_000 }),
    );
    return (await Promise.all(told)).map(({ out, complaint }) => out.trim() || complaint);
  };
  const crossed = (peer: Peer, port: number): boolean =>
    ['center', peer.name].every((name) =>
      cluster
        .flows(name)
        .some(({ detail, destination }) => destination.port === port && /at once/.test(detail ?? '')),
    );
  const openAndSee = async (t: Test, what: string, peer: Peer, family: 'four' | 'six'): Promise<void> => {
    for (let rounds = 0, met = false; !met && rounds < ROUNDS; rounds++) {
      const port = ports++;
      for (const end of await open(peer, family, port)) {
        t.match(end, /^(connected|E[A-Z]+)$/, `${what}, ${family}: ${end}`);
        if (peer === peers['whom policy denies']) t.not(end, 'connected');
      }
      // By the stream carrier the two calls are two connections.
      met = peer === peers['in redirect mode'] || crossed(peer, port);
      if (crossed(peer, port)) metOver.add(family);
    }
  };
  const every = async (hosts: readonly string[], is: (host: string) => Promise<boolean>): Promise<boolean> =>
    (await Promise.all(hosts.map(is))).every(Boolean);
  const serves = async (from: string, to: string, host: string): Promise<boolean> =>
    (await cluster.curl(from, `http://${host}:8080/`)).out === `${to} got /\n`;

  for (const when of ['before there is a session', 'with sessions'])
    t.test(`with pods in both modes and a denied one, ${when}`, async (t) => {
      const all = Object.entries(peers);
      await Promise.all(
        all.flatMap(([what, peer]) => [openAndSee(t, what, peer, 'four'), openAndSee(t, what, peer, 'six')]),
      );
      for (const { name, four, six } of Object.values(peers)) {
        const hosts = [four, `[${six}]`];
        const ownHosts = [center.four, `[${center.six}]`];
        await until(`center is served by ${name}`, () =>
          every(hosts, (host) => serves('center', name, host)),
        );
        if (name === 'denied')
          for (const host of ownHosts) t.notOk(await serves(name, 'center', host), 'and is denied as ever');
        else await until(`${name} is served`, () => every(ownHosts, (host) => serves(name, 'center', host)));
      }
    });

  t.test('SYNs met on their way over both families, which both sides have recorded', (t) => {
    t.strictSame([...metOver].toSorted(), ['four', 'six']);
    t.end();
  });
});
