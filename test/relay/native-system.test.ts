import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { cannotNetns, TestNetwork } from '../support/netns.ts';

interface Told {
  kind: string;
  original?: { address: string; port: number };
  local?: { address: string; port: number };
  syn?: string;
  length?: number;
  error?: string | null;
  hex?: string;
}

const PORT = 15_006;
const skip = cannotNetns();

/** A client host and a server host that redirects port 80 to a data path. */
class Pair {
  readonly network: TestNetwork;
  readonly server: { four: string; six: string };
  readonly told: Told[] = [];

  constructor(t: Test) {
    this.network = new TestNetwork(t);
    this.network.host('client');
    this.server = this.network.host('server');
  }

  async listen(family: 'four' | 'six', port = PORT): Promise<void> {
    await this.#start([family === 'four' ? '0.0.0.0' : '::', String(port)]);
  }

  async echo(): Promise<void> {
    await this.#start(['echo', '81']);
  }

  async redirect(family: 'four' | 'six'): Promise<void> {
    const [kind, tables] = family === 'four' ? ['ip', 'iptables'] : ['ip6', 'ip6tables'];
    const nft = `add table ${kind} t; add chain ${kind} t c { type nat hook prerouting priority dstnat; };
      add rule ${kind} t c tcp dport 80 redirect to :${PORT}`;
    const byNft = await this.network.run('server', ['nft', '-f', '-'], { input: nft });
    if (byNft.status === 0) return;
    const rule = `-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports ${PORT}`;
    const ran = await this.network.run('server', [tables!, ...rule.split(' ')]);
    if (ran.status !== 0) throw new Error(`no redirection: ${byNft.complaint}; ${ran.complaint}`);
  }

  /** @returns what the client printed */
  async dial(address: string, port: number, how: string): Promise<Told[]> {
    const script = join(import.meta.dirname, 'far-client.ts');
    const ran = await this.network.run('client', [process.execPath, script, address, String(port), how]);
    if (ran.complaint !== '') throw new Error(ran.complaint);
    return ran.out
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Told);
  }

  async next(kind: string): Promise<Told> {
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(10)) {
      const at = this.told.findIndex((one) => one.kind === kind);
      if (at >= 0) return this.told.splice(at, 1)[0]!;
    }
    throw new Error(`no ${kind}: ${JSON.stringify(this.told)}`);
  }

  async #start(args: string[]): Promise<void> {
    const script = join(import.meta.dirname, 'far-server.ts');
    const child = this.network.start('server', [process.execPath, script, ...args]);
    createInterface({ input: child.stdout! }).on('line', (line) => this.told.push(JSON.parse(line) as Told));
    child.stderr!.pipe(process.stderr);
    await Promise.race([
      this.next('listening'),
      once(child, 'exit').then(() => Promise.reject(new Error('ended'))),
    ]);
  }
}

/** Kinds of the TCP options in a saved SYN. */
function optionsOf(hex: string): number[] {
  const packet = Buffer.from(hex, 'hex');
  const start = packet[0]! >> 4 === 6 ? 40 : (packet[0]! & 15) * 4;
  const options = packet.subarray(start + 20, start + (packet[start + 12]! >> 4) * 4);
  const kinds: number[] = [];
  for (let at = 0; at < options.length && options[at] !== 0; at += options[at] === 1 ? 1 : options[at + 1]!) {
    kinds.push(options[at]!);
  }
  return kinds;
}

for (const family of ['four', 'six'] as const) {
  t.test(
    `native data path: the original destination of a redirected connection is told, IPv${family}`,
    { skip },
    async (t) => {
      const pair = new Pair(t);
      await pair.redirect(family);
      await pair.listen(family);
      const [redirected] = await pair.dial(pair.server[family], 80, 'plain');
      t.equal(redirected?.error, null);
      const accepted = await pair.next('accepted');
      t.strictSame(accepted.original, { address: pair.server[family], port: 80 });
      t.strictSame(accepted.local, { address: pair.server[family], port: PORT });
    },
  );
}

t.test(
  'native data path: a direct connection has no original destination but its own',
  { skip },
  async (t) => {
    const pair = new Pair(t);
    await pair.listen('four');
    await pair.dial(pair.server.four, PORT, 'plain');
    t.equal((await pair.next('accepted')).original, undefined, 'nothing is tracked');
    await pair.redirect('four');
    await pair.dial(pair.server.four, PORT, 'plain');
    const tracked = await pair.next('accepted');
    t.strictSame(tracked.original, tracked.local, 'tracked, and not redirected');
  },
);

t.test(
  'native data path: the saved SYN carries the Fast Open option if and only if dialled so',
  { skip },
  async (t) => {
    const pair = new Pair(t);
    await pair.listen('four');
    for (const [how, marked] of [
      ['plain', false],
      ['fast', true],
      ['fast-silent', true],
      ['fast', true],
    ] as const) {
      await pair.dial(pair.server.four, PORT, how);
      const options = optionsOf((await pair.next('accepted')).syn!);
      t.ok(options.includes(2), 'the options were found');
      t.equal(options.includes(34) || options.includes(254), marked, how);
    }
  },
);

t.test('native data path: where Fast Open is allowed the frame travels in the SYN', { skip }, async (t) => {
  const pair = new Pair(t);
  for (const host of ['client', 'server']) pair.network.sysctl(host, 'net.ipv4.tcp_fastopen', '3');
  await pair.listen('four');
  for (const round of ['asks for the cookie', 'uses it']) {
    const told = await pair.dial(pair.server.four, PORT, 'fast');
    t.equal(told[0]?.error, null, round);
    t.equal((await pair.next('frame')).length, 16, round);
    t.match(told.at(-1), { hex: '7365656e' }, `${round}: ${JSON.stringify([told, pair.told])}`);
  }
  const counters = await pair.network.run('server', ['nstat', '-asz', 'TcpExtTCPFastOpenPassive']);
  t.match(counters.out, /TCPFastOpenPassive\s+1\s/, 'the second SYN brought its frame');
});

t.test(
  'native data path: a Fast Open dial reaches a server that knows nothing of it',
  { skip },
  async (t) => {
    const pair = new Pair(t);
    await pair.echo();
    const told = await pair.dial(pair.server.four, 81, 'fast');
    t.equal(told[0]?.error, null);
    t.equal(told.at(-1)?.hex?.length, 32, 'what was sent with the dial arrived');
  },
);
