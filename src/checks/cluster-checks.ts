import type { CheckSettings, ClusterFacts, NodeFact } from './facts.ts';
import type { Finding } from './finding.ts';
import { someOf } from './enrolled.ts';
import { compareVersions, versionNumber } from './version-number.ts';

/** Native sidecars (KEP-753) are on by default from here on. */
const OLDEST = { major: 1, minor: 29, patch: 0 };

/** Kubernetes has to know native sidecars, on the API server and on every node that runs injected pods. */
export function checkKubernetesVersion({ version, nodes }: ClusterFacts): Finding[] {
  const check = 'kubernetes-version';
  const remedy = 'upgrade it, or install with --classic, where Jobs do not end by themselves';
  const findings: Finding[] = [];
  const server = version === undefined ? undefined : versionNumber(version);
  if (server !== undefined) {
    findings.push(
      compareVersions(server, OLDEST) < 0
        ? {
            level: 'error',
            check,
            object: 'cluster',
            text: `the API server is ${version}; native sidecars need 1.29`,
            remedy,
          }
        : { level: 'ok', check, object: 'cluster', text: `the API server is ${version}` },
    );
  }
  for (const node of nodes ?? []) {
    const kubelet = versionNumber(node.status?.nodeInfo?.kubeletVersion ?? '');
    if (kubelet !== undefined && compareVersions(kubelet, OLDEST) < 0)
      findings.push({
        level: 'error',
        check,
        object: `node/${node.metadata.name}`,
        text: `its kubelet is ${node.status?.nodeInfo?.kubeletVersion}; native sidecars need 1.29`,
        remedy,
      });
  }
  return findings;
}

/** DaemonSets by which network plugins are known, what each enforces, and what to mind. */
const PLUGINS: readonly { name: RegExp; plugin: string; enforces: boolean; mind?: string }[] = [
  {
    name: /^cilium$/,
    plugin: 'Cilium',
    enforces: true,
    mind: 'with socketLB on and no socketLB.hostNamespaceOnly, Service addresses are rewritten before the sidecar sees them: the sidecar then sees the endpoint, which it knows too',
  },
  { name: /^(calico-node|canal)$/, plugin: 'Calico', enforces: true },
  { name: /^antrea-agent$/, plugin: 'Antrea', enforces: true },
  { name: /^weave-net$/, plugin: 'Weave Net', enforces: true },
  { name: /^kube-router$/, plugin: 'kube-router', enforces: true },
  { name: /^ovnkube-node(-\w+)?$/, plugin: 'OVN-Kubernetes', enforces: true },
  {
    name: /^aws-node$/,
    plugin: 'AWS VPC CNI',
    enforces: false,
    mind: 'it enforces NetworkPolicy only where its network policy agent is switched on (enableNetworkPolicy)',
  },
  { name: /^azure-npm$/, plugin: 'Azure NPM', enforces: true },
  { name: /^kube-network-policies$/, plugin: 'kube-network-policies', enforces: true },
  { name: /^(kube-)?flannel(-ds)?(-\w+)?$/, plugin: 'flannel', enforces: false },
  {
    name: /^kindnet$/,
    plugin: 'kindnet',
    enforces: true,
    mind: 'enforcing since kind 0.24; older ones do not',
  },
];

/** Which network plugin there is, by its DaemonSet. Countersign adds to what it enforces: UDP, and pods without a sidecar, are its alone. */
export function checkNetworkPlugin({ daemonSets }: ClusterFacts): Finding[] {
  if (daemonSets === undefined) return [];
  const check = 'network-plugin';
  const found = PLUGINS.filter(({ name }) => daemonSets.some(({ metadata }) => name.test(metadata.name)));
  const findings: Finding[] = found.map(({ plugin, enforces, mind }) => ({
    level: enforces && mind === undefined ? 'ok' : 'note',
    check,
    object: 'cluster',
    text: `${plugin} is here${enforces ? ' and enforces NetworkPolicy on addresses; what it refuses stays refused' : ''}${mind === undefined ? '' : `: ${mind}`}`,
  }));
  if (!found.some(({ enforces }) => enforces))
    findings.push({
      level: 'warning',
      check,
      object: 'cluster',
      text: `no network plugin was found that enforces NetworkPolicy${found.length === 0 ? ' (by the names of DaemonSets)' : ''}`,
      remedy:
        'Countersign polices TCP between injected pods alone: UDP, and pods without a sidecar, stay open unless a plugin enforces (docs/coexistence.md)',
    });
  return findings;
}

/** What nodes are like, as far as the API tells, and what it cannot tell. */
export function checkNodes({ nodes }: ClusterFacts): Finding[] {
  const check = 'nodes';
  const findings: Finding[] = [];
  const windows = (nodes ?? []).filter((node) => node.status?.nodeInfo?.operatingSystem === 'windows');
  if (windows.length > 0)
    findings.push({
      level: 'note',
      check,
      object: 'cluster',
      text: `${someOf(windows.map(({ metadata }) => metadata.name))} run Windows: pods there get no sidecar`,
    });
  const old = (nodes ?? []).filter((node) => {
    const kernel = versionNumber(node.status?.nodeInfo?.kernelVersion ?? '');
    return kernel !== undefined && compareVersions(kernel, { major: 4, minor: 18, patch: 0 }) < 0;
  });
  if (old.length > 0)
    findings.push({
      level: 'warning',
      check,
      object: 'cluster',
      text: `${someOf(old.map(({ metadata }) => metadata.name))} have a kernel before 4.18, on which nobody has tried this`,
      remedy: 'try one pod first: the init step countersign-redirect says in its log what is missing',
    });
  findings.push({
    level: 'note',
    check: 'not-knowable',
    object: 'cluster',
    text: 'from outside nobody sees net.ipv4.tcp_fastopen of pods, whether nodes have nftables or iptables modules, or the defaults of Pod Security in the API server’s own configuration',
    remedy:
      'the first injected pod tells: its init step fails with what is missing, countersign_fast_open_dials_total says what became of Fast Open, and a refused pod names the Pod Security level',
  });
  return findings;
}

/** Managed clusters whose API server reaches pods on few ports, or not at all. */
const PROVIDERS: readonly { id: RegExp; version: RegExp; text: string; remedy: string }[] = [
  {
    id: /^gce:/,
    version: /-gke\./,
    text: 'on private GKE clusters the firewall lets the API server reach nodes on 443 and 10250 alone; the injector listens on 14444',
    remedy:
      'add a firewall rule from the control plane’s address range to TCP 14444 of the nodes; «countersign check» after the installation tries it',
  },
  {
    id: /^aws:/,
    version: /-eks-/,
    text: 'on EKS the control plane’s security group has to reach TCP 14444 of the nodes, and with an overlay network (Calico, Cilium in overlay mode) it cannot reach pods at all',
    remedy:
      'allow 14444 in the nodes’ security group; «countersign check» after the installation tries it; with an overlay, inject manifests beforehand with «countersign inject»',
  },
];

/** Whether the API server will reach the injector cannot be known beforehand; where it often cannot, that is said. */
export function checkWebhookReach({ nodes, version }: ClusterFacts): Finding[] {
  const check = 'webhook-reach';
  const of = (node: NodeFact): string => node.spec?.providerID ?? '';
  return PROVIDERS.filter(
    ({ id, version: known }) =>
      nodes?.some((node) => id.test(of(node))) === true || known.test(version ?? ''),
  ).map(({ text, remedy }) => ({ level: 'warning', check, object: 'cluster', text, remedy }));
}

/** Whether the user may make what an installation is made of. */
export function checkRights({ rights }: ClusterFacts, { namespace }: CheckSettings): Finding[] {
  if (rights === undefined) return [];
  const check = 'rights';
  const missing = rights.filter(({ allowed }) => !allowed);
  if (missing.length === 0)
    return [{ level: 'ok', check, object: 'cluster', text: 'the user may make all that an installation is' }];
  const texts = missing.map(
    ({ verb, group, resource, namespace: place }) =>
      `${verb} ${resource}${group === '' ? '' : `.${group}`}${place === undefined ? '' : ` in ${place}`}`,
  );
  return [
    {
      level: 'error',
      check,
      object: 'cluster',
      text: `the user of the kubeconfig may not ${texts.join(', ')}`,
      remedy: `apply the installation (namespace ${namespace}) as cluster-admin, once; sidecars and applications need no right`,
    },
  ];
}
