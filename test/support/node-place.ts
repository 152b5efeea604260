import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { makeCgroup, removeCgroup } from './node-cgroup.ts';

/** What kubelet wants of the machine's kernel. It reads them from files that lie over the real ones, and leaves those alone. */
const KERNEL_SETTINGS: Readonly<Record<string, string>> = {
  'vm/overcommit_memory': '1',
  'vm/panic_on_oom': '0',
  'kernel/panic': '10',
  'kernel/panic_on_oops': '1',
  'kernel/keys/root_maxkeys': '1000000',
  'kernel/keys/root_maxbytes': '25000000',
};

/**
 * Runs as the first process of the namespaces, with the folder and the address as arguments. What kubelet, containerd and CNI write outside of their folders (state of
 * runc and of shims, results of CNI, links to logs) goes to places that nobody else sees. Each line that is not usual says which obstacle it is for.
 */
const FIRST_PROCESS = `
set -eu
folder=$1 address=$2
mount -t tmpfs -o mode=755 tmpfs /run
for place in /var/lib /var/log; do
  mkdir -p "$folder/over$place" "$folder/work$place"
  mount -t overlay -o "lowerdir=$place,upperdir=$folder/over$place,workdir=$folder/work$place" overlay "$place"
done
for name in ${Object.keys(KERNEL_SETTINGS).join(' ')}; do
  [ ! -e "/proc/sys/$name" ] || mount --bind "$folder/kernel/$name" "/proc/sys/$name"
done
ip link set lo up
# kubelet wants an address and a default route; not every kernel has dummy devices, so a pair that leads nowhere.
ip link add node0 type veth peer name node1
ip addr add "$address/24" dev node0
ip link set node0 up
ip link set node1 up
ip route add default via "\${address%.*}.1"
for setting in ipv4.ip_forward=1 ipv4.conf.all.rp_filter=0 bridge.bridge-nf-call-iptables=1; do
  # A kernel without the bridge filter does not need it.
  sysctl -qw "net.$setting" 2>/dev/null || true
done
echo ready
# It reaps whoever has lost its parent.
while :; do sleep 100000; done
`;

/**
 * Where a node lives: network, mount and process namespaces and a cgroup of its own. They end with their first process, and that ends with this one, whatever ends
 * this one; the kernel kills everything in them first. Several on one machine do not meet.
 */
export class NodePlace {
  /** Leads a command into the network alone, with this machine's files and processes. */
  readonly intoNetwork: readonly string[];
  /** Leads a command to where the node's programs run. */
  readonly intoNode: readonly string[];
  /** As kubelet is told, below the root of every hierarchy. */
  readonly cgroup: string;
  readonly #outer: ChildProcess;
  readonly #first: number;

  private constructor(outer: ChildProcess, first: number, cgroup: string) {
    this.#outer = outer;
    this.#first = first;
    this.cgroup = cgroup;
    // Unlike `ip netns exec` this leaves /sys as it is, where kubelet and runc find the cgroups.
    this.intoNetwork = ['nsenter', `--net=/proc/${first}/ns/net`, '--'];
    this.intoNode = ['nsenter', `--target=${first}`, '--net', '--mount', '--pid', '--'];
  }

  /**
   * @param folder that belongs to it alone; its last part names the cgroup
   * @param address of the node, with a default route that leads nowhere
   */
  static async make(folder: string, address: string): Promise<NodePlace> {
    for (const [name, value] of Object.entries(KERNEL_SETTINGS)) {
      mkdirSync(join(folder, 'kernel', name, '..'), { recursive: true });
      writeFileSync(join(folder, 'kernel', name), `${value}\n`);
    }
    const namespaces = ['--net', '--mount', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc'];
    const script = ['sh', '-c', FIRST_PROCESS, 'node', folder, address];
    const outer = spawn('setpriv', ['--pdeathsig', 'SIGKILL', 'unshare', ...namespaces, ...script], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let complaint = '';
    outer.stderr.on('data', (data: Buffer) => (complaint += data.toString()));
    const ready = once(createInterface({ input: outer.stdout }), 'line');
    const ended = once(outer, 'exit').then(() => {
      throw new Error(
        `namespaces for a node cannot be made here (root, and mount(2) of overlays): ${complaint}`,
      );
    });
    await Promise.race([ready, ended]);
    // Nobody waits for it any more.
    ended.catch(() => {});
    const cgroup = makeCgroup(folder);
    return new NodePlace(outer, childOf(outer.pid!), cgroup);
  }

  /** Kills everything in it. */
  async end(): Promise<void> {
    if (this.#outer.exitCode === null && this.#outer.signalCode === null) {
      const ended = once(this.#outer, 'exit');
      process.kill(this.#first, 'SIGKILL');
      await ended;
    }
    await removeCgroup(this.cgroup);
  }
}

/** The one child of a process. @throws Error when it has none */
export function childOf(parent: number): number {
  for (const id of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${id}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      if (Number(fields[1]) === parent) return Number(id);
    } catch {
      // It ended meanwhile.
    }
  }
  throw new Error(`process ${parent} has no child`);
}
