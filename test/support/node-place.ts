import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

/** Unlike `ip netns exec` this leaves /sys as it is, where kubelet and runc find the cgroups. */
export function enterInto(namespace: string): string[] {
  return ['nsenter', `--net=/run/netns/${namespace}`, '--'];
}

/** A network namespace with an address and a default route that lead nowhere. */
export function makeNodeNamespace(name: string, address: string): void {
  const ip = (...args: string[]): void =>
    void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  ip('netns', 'add', name);
  ip('-n', name, 'link', 'set', 'lo', 'up');
  // kubelet wants an address and a default route; not every kernel has dummy devices, so a pair that leads nowhere.
  ip('-n', name, 'link', 'add', 'node0', 'type', 'veth', 'peer', 'name', 'node1');
  ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'node0');
  ip('-n', name, 'link', 'set', 'node0', 'up');
  ip('-n', name, 'link', 'set', 'node1', 'up');
  ip('-n', name, 'route', 'add', 'default', 'via', address.replace(/\d+$/, '1'));
  const settings = [
    'net.ipv4.ip_forward=1',
    'net.ipv4.conf.all.rp_filter=0',
    'net.bridge.bridge-nf-call-iptables=1',
  ];
  for (const setting of settings) {
    try {
      execFileSync('nsenter', [...enterInto(name).slice(1), 'sysctl', '-qw', setting], { stdio: 'ignore' });
    } catch {
      // A kernel without the bridge filter does not need it.
    }
  }
}

export function removeNamespace(name: string): void {
  try {
    execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
  } catch {
    // It is gone already.
  }
}

/** Unmounts what kubelet and containerd left below a folder. */
export function unmountBelow(folder: string): void {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((place) => place.startsWith(`${folder}/`));
  for (const place of mounts.toSorted().toReversed()) {
    try {
      execFileSync('umount', ['-l', place], { stdio: 'ignore' });
    } catch {
      // It went with the one above it.
    }
  }
}

/** kubelet and containerd leave their cgroups behind. Those that are still used cannot be removed. */
export function removeCgroups(): void {
  const remove = (folder: string): void => {
    if (!existsSync(folder)) return;
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory()) remove(join(folder, entry.name));
    }
    try {
      rmdirSync(folder);
    } catch {
      // Somebody is in it.
    }
  };
  const hierarchies = ['', ...readdirSync('/sys/fs/cgroup')].map((name) => join('/sys/fs/cgroup', name));
  for (const hierarchy of hierarchies)
    for (const name of ['kubepods', 'k8s.io']) remove(join(hierarchy, name));
}
