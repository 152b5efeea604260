import { execFileSync } from 'node:child_process';
import type { LinkEnd } from './impaired-link.ts';
import type { TestNetwork } from './netns.ts';

/** Some packets of TCP, which a router answers with an ICMP error instead of sending them on. */
export interface Refusing {
  readonly family: 4 | 6;
  /** As iptables' `--reject-with` names it. */
  readonly error: string;
  /** What iptables is asked for besides: a port, flags. */
  readonly match: readonly string[];
}

let paths = 0;

/**
 * The path between two hosts of a test network led over two routers, which are namespaces of their own: their own addresses reach each other that way
 * alone, other hosts as before. The link between the routers may have a smaller MTU than those to the hosts, which only ICMP tells them.
 */
export class RoutedPath {
  readonly #network: TestNetwork;
  readonly #routers: readonly string[];

  private constructor(network: TestNetwork, routers: readonly string[]) {
    this.#network = network;
    this.#routers = routers;
  }

  /** The first one seen from `here`; it is the one that refuses. */
  get #router(): string {
    return this.#routers[0]!;
  }

  /** Lays the path; it ends with the network. @param middleMtu of the link between the routers */
  static between(network: TestNetwork, here: LinkEnd, there: LinkEnd, middleMtu = 1_500): RoutedPath {
    const number = paths++;
    const ends = [here, there].map((end, side) => ({ ...end, router: `router${number}-${side}`, side }));
    for (const { router } of ends) {
      network.host(router);
      network.sysctl(router, 'net.ipv4.ip_forward', '1');
      network.sysctl(router, 'net.ipv6.conf.all.forwarding', '1');
      // Errors are limited by their receiver, and a test makes many at once.
      network.sysctl(router, 'net.ipv4.icmp_ratelimit', '0');
      network.sysctl(router, 'net.ipv6.icmp.ratelimit', '0');
    }
    const ip = (host: string, ...command: string[]): void => {
      execFileSync('ip', ['-n', network.name(host), ...command], { stdio: ['ignore', 'ignore', 'pipe'] });
    };
    const link = (from: string, device: string, to: string, other: string, mtu: number): void => {
      const peer = ['peer', 'name', other, 'netns', network.name(to)];
      ip(from, 'link', 'add', device, 'mtu', String(mtu), 'type', 'veth', ...peer);
      ip(to, 'link', 'set', other, 'mtu', String(mtu));
      for (const [host, name] of [
        [from, device],
        [to, other],
      ] as const) {
        // An address that is looked for elsewhere first answers nobody for a second.
        network.sysctl(host, `net.ipv6.conf.${name}.accept_dad`, '0');
        ip(host, 'link', 'set', name, 'up');
      }
    };
    link(ends[0]!.router, 'middle', ends[1]!.router, 'middle', middleMtu);
    for (const { host, four, six, router, side } of ends) {
      const far = ends[1 - side]!;
      const [device, gateway, gateway6] = [
        `routed${number}`,
        `169.254.${number}.${side + 1}`,
        `fd98:${number}::${side + 1}`,
      ];
      link(router, 'edge', host, device, 1_500);
      ip(router, 'addr', 'add', `${gateway}/32`, 'dev', 'edge');
      ip(router, 'addr', 'add', `${gateway6}/128`, 'dev', 'edge', 'nodad');
      ip(router, 'addr', 'add', `${gateway}/32`, 'dev', 'middle');
      ip(router, 'addr', 'add', `${gateway6}/128`, 'dev', 'middle', 'nodad');
      ip(router, 'route', 'add', `${four}/32`, 'dev', 'edge');
      ip(router, '-6', 'route', 'add', `${six}/128`, 'dev', 'edge');
      // REDIRECT sends what comes over a device to an address of that device.
      ip(host, 'addr', 'add', `${four}/32`, 'dev', device);
      ip(host, 'addr', 'add', `${six}/128`, 'dev', device, 'nodad');
      const onward = [`169.254.${number}.${2 - side}`, `fd98:${number}::${2 - side}`];
      ip(router, 'route', 'add', `${far.four}/32`, 'via', onward[0]!, 'dev', 'middle', 'onlink');
      ip(router, '-6', 'route', 'add', `${far.six}/128`, 'via', onward[1]!, 'dev', 'middle', 'onlink');
      ip(host, 'route', 'replace', `${far.four}/32`, 'via', gateway, 'dev', device, 'onlink', 'src', four);
      ip(
        host,
        '-6',
        'route',
        'replace',
        `${far.six}/128`,
        'via',
        gateway6,
        'dev',
        device,
        'onlink',
        'src',
        six,
      );
    }
    return new RoutedPath(
      network,
      ends.map(({ router }) => router),
    );
  }

  /** How many packets of each family were too big for the link between the routers, which has told their senders. */
  async tooBig(): Promise<{ readonly four: number; readonly six: number }> {
    let [four, six] = [0, 0];
    for (const router of this.#routers) {
      const { out } = await this.#network.run(router, ['nstat', '-asz', 'Icmp6OutPktTooBigs', 'IpFragFails']);
      six += Number(/^Icmp6OutPktTooBigs\s+(\d+)/m.exec(out)?.[1] ?? 0);
      four += Number(/^IpFragFails\s+(\d+)/m.exec(out)?.[1] ?? 0);
    }
    return { four, six };
  }

  /** The router answers these packets with their errors from now on. */
  async refuse(all: readonly Refusing[]): Promise<void> {
    for (const family of [4, 6] as const) {
      const rules = all.filter((one) => one.family === family);
      const lines = rules.map(
        ({ match, error }) => `-A FORWARD -p tcp ${match.join(' ')} -j REJECT --reject-with ${error}`,
      );
      await this.#restore(family, ['*filter', ...lines, 'COMMIT', '']);
    }
  }

  /** The router lets everything pass again. */
  async allow(): Promise<void> {
    for (const family of [4, 6] as const)
      await this.#restore(family, ['*filter', '-F FORWARD', 'COMMIT', '']);
  }

  /** The ports of the rules of a family that have answered a packet. */
  async refused(family: 4 | 6): Promise<ReadonlySet<number>> {
    const { out } = await this.#network.run(this.#router, [tables(family), '-w', '-nvxL', 'FORWARD']);
    const met = out.split('\n').filter((line) => line.includes('REJECT') && Number.parseInt(line, 10) > 0);
    return new Set(met.map((line) => Number(/[ds]pt:(\d+)/.exec(line)?.[1])));
  }

  async #restore(family: 4 | 6, lines: readonly string[]): Promise<void> {
    const command = [`${tables(family)}-restore`, '-w', '--noflush'];
    const { status, complaint } = await this.#network.run(this.#router, command, { input: lines.join('\n') });
    if (status !== 0) throw new Error(complaint);
  }
}

function tables(family: 4 | 6): string {
  return family === 4 ? 'iptables' : 'ip6tables';
}
