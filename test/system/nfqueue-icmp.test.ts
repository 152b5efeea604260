/** ICMP errors of routers between pods, IPv4 and IPv6, about every packet of a connection: they end a call at most, open none, and leave open ones alone. */
import t, { type Test } from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { type Refusing, RoutedPath } from '../support/routed-path.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { STEPWISE_SERVER, StepwiseCalls } from '../support/stepwise-calls.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);

/** What routers answer with, and what connect(2) makes of it when it is about a SYN. */
const ERRORS = [
  { family: 6, error: 'icmp6-no-route', code: 'ENETUNREACH' },
  { family: 6, error: 'icmp6-adm-prohibited', code: 'EACCES' },
  { family: 6, error: 'icmp6-addr-unreachable', code: 'EHOSTUNREACH' },
  { family: 6, error: 'icmp6-port-unreachable', code: 'ECONNREFUSED' },
  { family: 4, error: 'icmp-net-unreachable', code: 'ENETUNREACH' },
  { family: 4, error: 'icmp-host-unreachable', code: 'EHOSTUNREACH' },
  { family: 4, error: 'icmp-admin-prohibited', code: 'EHOSTUNREACH' },
  { family: 4, error: 'icmp-port-unreachable', code: 'ECONNREFUSED' },
] as const;
/** The packets that a router refuses, and whether the call has begun by then. */
const PACKETS = [
  { packet: 'SYN', to: 'server', flags: ['SYN,ACK', 'SYN'], open: false },
  { packet: 'SYN-ACK', to: 'client', flags: ['SYN,ACK', 'SYN,ACK'], open: false },
  { packet: 'ACK', to: 'server', flags: ['SYN,ACK', 'ACK'], open: false },
  { packet: 'question', to: 'server', flags: ['PSH', 'PSH'], open: true },
  { packet: 'answer', to: 'client', flags: ['PSH', 'PSH'], open: true },
] as const;

/**
 * How a call may end. A SYN that the network refuses ends its call with what the network has said; every other packet is sent again. IPv6's kernel forgets a
 * half-open connection whose SYN-ACK is refused for good.
 */
function endsOf(packet: string, code: string, forGood: boolean): readonly string[] {
  if (packet === 'SYN') return ['right', code];
  return packet === 'SYN-ACK' && forGood ? ['right', 'ECONNRESET'] : ['right'];
}

const CASES = ERRORS.flatMap((error) => PACKETS.map((packet) => ({ ...error, ...packet }))).map(
  (one, index) => ({
    ...one,
    id: `${one.error} about the ${one.packet}`,
    port: 9_300 + index,
    ends: endsOf(one.packet, one.code, one.family === 6 && /^E(ACCES|CONNREFUSED)$/.test(one.code)),
  }),
);
type Case = (typeof CASES)[number];

t.test('ICMP errors of a router between pods in NFQUEUE mode', { skip, timeout: 500_000 }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' }, mode: 'nfqueue' });
  const client = cluster.pod('client', { labels: { drinks: 'beer' }, mode: 'nfqueue' });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'client');
  await cluster.app('server', STEPWISE_SERVER(CASES.map(({ port }) => port)));
  const path = RoutedPath.between(
    cluster.network,
    { host: 'client', ...client },
    { host: 'server', ...server },
  );
  const calls = new StepwiseCalls(cluster, 'client');

  const fallbacks = async (): Promise<number> => {
    const { out } = await cluster.curl('client', 'http://127.0.0.1:14020/metrics');
    return Number(/^countersign_carrier_fallbacks_total (\d+)$/m.exec(out)?.[1]);
  };
  const begin = ({ id, family, port }: Case): void =>
    calls.call(id, family === 4 ? server.four : server.six, port);
  const refusing = ({ family, error, to, flags, port }: Case): Refusing => ({
    family,
    error,
    match: [to === 'server' ? '--dport' : '--sport', String(port), '--tcp-flags', ...flags],
  });

  const hasAnswered = (cases: readonly Case[]): Promise<void> => {
    const answered = new Set<number>();
    return until('each packet was answered by ICMP', async () => {
      for (const family of [4, 6] as const) for (const port of await path.refused(family)) answered.add(port);
      return cases.every(({ port }) => answered.has(port));
    });
  };
  const endWell = async (t: Test, cases: readonly Case[]): Promise<void> => {
    for (const one of cases) {
      const end = await calls.ended(one.id);
      // A call that had to turn to the stream carrier, where this machine is slow, has two connections: the first hears of an error in the second by a reset.
      const turned = end === 'ECONNRESET' && !one.open && (await fallbacks()) > 0;
      t.ok(turned || one.ends.includes(end), `${one.id}: ${end}`);
    }
  };

  for (const handshake of ['full', 'resumed'])
    t.test(`about the packets of a handshake that is ${handshake}`, async (t) => {
      const cases = CASES.filter((one) => !one.open);
      await path.refuse(cases.map(refusing));
      for (const one of cases) begin(one);
      await hasAnswered(cases);
      await path.allow();
      for (const one of cases) if ((await calls.begun(one.id)) === 'greeted') calls.say(one.id);
      await endWell(t, cases);
      await cluster.flow('server', (one) => one.verdict === 'allow' && one.handshake === handshake);
    });

  t.test('about the data of open connections', async (t) => {
    const cases = CASES.filter((one) => one.open);
    for (const one of cases) begin(one);
    for (const one of cases) t.equal(await calls.begun(one.id), 'greeted', `begun: ${one.id}`);
    await path.refuse(cases.map(refusing));
    for (const one of cases) calls.say(one.id);
    await hasAnswered(cases);
    await path.allow();
    await endWell(t, cases);
  });
});
