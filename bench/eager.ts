/**
 * Whether the kernel resets good connections whose first byte comes at the same moment as the ACK that establishes them, on another CPU; as root:
 *
 *     node bench/eager.ts [--seconds 10] [--rounds 3] [--only direct,steered,nfqueue]
 *
 * `direct`: two namespaces without any rule or sidecar; everything happens on the CPU of the program, and nothing is reset. `steered`: the same, and the
 * client's kernel takes packets in on another CPU (RPS, kernel Documentation/networking/scaling.rst), so that ACK and first byte leave by two. `nfqueue`: two
 * pods, where the ACK leaves by the CPU of the sidecar. Prints connections and resets after they were established. It says what a kernel does, and
 * is no test.
 */
import { amount, count, flagsOf, someOf } from './flags.ts';
import { tryLoad } from './load-program.ts';
import { Place } from './place.ts';
import { inTurn } from './plan.ts';
import { POLICIES } from './sidecar-variants.ts';
import { Sidecars } from './sidecars.ts';

const flags = flagsOf(
  'bench/eager.ts',
  'Whether the kernel resets good connections whose first byte comes at once (root).',
  {
    seconds: amount('of each sample', 10),
    rounds: count('how often each is tried', 3),
    only: someOf('which are tried', ['direct', 'steered', 'nfqueue']),
  },
);
const PORT = 9000;
/** Of the program. Steered packets come in on the first one. */
const CPU = 1;
const STEER = 'echo 1 > /sys/class/net/eth0/queues/rx-0/rps_cpus';

const place = new Place();
process.once('SIGINT', () => {
  place.close();
  process.exit(130);
});
try {
  const { cluster } = place;
  cluster.write('policies.yaml', POLICIES);
  const sidecars = new Sidecars(place, 'source');
  const variants: { name: string; address: string }[] = [];
  for (const name of flags.only) variants.push({ name, address: await prepare(name, sidecars) });
  const sums = new Map(variants.map(({ name }) => [name, { connections: 0, reset: 0 }]));
  for (let round = 0; round < flags.rounds; round++) {
    for (const { name, address } of inTurn(variants, round)) {
      const order = { kind: 'eager', seconds: flags.seconds, number: CPU } as const;
      const target = { address, port: PORT };
      const report = await tryLoad(cluster.network, `${name}-client`, place.load, target, order);
      const sum = sums.get(name)!;
      sum.connections += report.connections;
      sum.reset += report.failed;
    }
  }
  process.stdout.write(`${JSON.stringify(Object.fromEntries(sums))}\n`);
} finally {
  place.close();
}
process.exit(0);

/** Makes the two ends of a variant. @returns the server's address */
async function prepare(name: string, sidecars: Sidecars): Promise<string> {
  const { cluster } = place;
  const [client, server] = [`${name}-client`, `${name}-server`];
  const queued = name === 'nfqueue';
  const mode = queued ? 'nfqueue' : 'redirect';
  const { four } = cluster.pod(server, { labels: { role: 'server' }, mode });
  cluster.pod(client, { labels: { role: 'client' }, mode });
  for (const host of [client, server]) place.quieten(host);
  await place.serve(server, PORT);
  if (queued) await Promise.all([client, server].map((pod) => sidecars.start(pod, { carrier: 'nfqueue' })));
  if (name === 'steered') {
    const { status, complaint } = await cluster.network.run(client, ['sh', '-c', STEER]);
    if (status !== 0) throw new Error(`packets cannot be steered: ${complaint}`);
  }
  return four;
}
