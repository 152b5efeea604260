import type { TestNetwork } from './netns.ts';

/** The address of the network between, as its hosts know it. */
const GATEWAY = '10.99.255.254';

/** A pod behind a Service. */
export interface Behind {
  readonly host: string;
  readonly address: string;
  readonly port: number;
}

/** A Service's address in the network between the hosts, which leads each connection to one of some pods as kube-proxy does by iptables. */
export class KubeProxyRules {
  readonly #network: TestNetwork;
  readonly #chain: string;

  private constructor(network: TestNetwork, chain: string) {
    this.#network = network;
    this.#chain = chain;
  }

  /** @param name of the Service, short: its chain bears it */
  static async open(
    network: TestNetwork,
    name: string,
    address: string,
    port: number,
  ): Promise<KubeProxyRules> {
    const rules = new KubeProxyRules(network, `SVC-${name}`);
    // Pods share one link: without it they would be told to send directly.
    for (const setting of ['all', 'br0'])
      network.sysctl('switch', `net.ipv4.conf.${setting}.send_redirects`, '0');
    network.sysctl('switch', 'net.ipv4.ip_forward', '1');
    await rules.#restore([
      '*filter',
      '-A FORWARD -m conntrack --ctstate INVALID -j DROP',
      'COMMIT',
      '*nat',
      `:${rules.#chain} - [0:0]`,
      `-A PREROUTING -d ${address} -p tcp --dport ${port} -j ${rules.#chain}`,
      'COMMIT',
    ]);
    return rules;
  }

  /**
   * From here on new connections are led to these pods, evenly and at random; open ones stay where they are.
   * @param clients addresses to which the pods answer through the network between
   */
  async leadTo(pods: readonly Behind[], clients: readonly string[]): Promise<void> {
    for (const { host } of pods) {
      for (const client of clients)
        await this.#must(host, ['ip', 'route', 'replace', `${client}/32`, 'via', GATEWAY]);
    }
    const rules = pods.map(({ address, port }, index) => {
      const left = pods.length - index;
      const some = left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `;
      return `-A ${this.#chain} -p tcp ${some}-j DNAT --to-destination ${address}:${port}`;
    });
    // A chain that is named is emptied and filled in one transaction.
    await this.#restore(['*nat', `:${this.#chain} - [0:0]`, ...rules, 'COMMIT']);
  }

  async #restore(lines: readonly string[]): Promise<void> {
    await this.#must('switch', ['iptables-restore', '-w', '--noflush'], `${lines.join('\n')}\n`);
  }

  async #must(host: string, command: readonly string[], input = ''): Promise<void> {
    const { status, complaint } = await this.#network.run(host, command, { input });
    if (status !== 0) throw new Error(`${command.join(' ')} in ${host}: ${complaint}`);
  }
}
