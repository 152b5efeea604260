import { DNS_ADDRESS } from './kube-dns.ts';

/** The files that make one machine a node, as texts. Each line that is not usual says which obstacle it is for. */
export interface NodePlan {
  readonly folder: string;
  readonly name: string;
  readonly address: string;
  readonly podCidr: string;
  /** Below which kubelet puts pods, in every hierarchy. */
  readonly cgroup: string;
  /** Certificate that the API server shows to kubelet. */
  readonly clientCaFile: string;
  readonly proxyKubeconfig: string;
}

export const PAUSE_IMAGE = 'countersign.test/pause:1';

export function containerdConfig({ folder }: NodePlan): string {
  return `version = 3
root = "${folder}/containerd"
state = "${folder}/state"
[grpc]
  address = "${folder}/containerd.sock"
[ttrpc]
  address = "${folder}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE a negative oom_score_adj is EACCES, and no container starts.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "${folder}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "/usr/sbin/runc"
  SystemdCgroup = false
`;
}

/** The node's address among its pods, from which kubelet's probes come. Not the first one: not every network follows that convention. */
export function gatewayOf(podCidr: string): string {
  return podCidr.replace(/0\/24$/, '99');
}

export function cniConfig({ folder, podCidr }: NodePlan): string {
  const range = { subnet: podCidr, gateway: gatewayOf(podCidr) };
  const ipam = { type: 'host-local', ranges: [[range]], dataDir: `${folder}/ipam` };
  const bridge = {
    type: 'bridge',
    bridge: 'cni0',
    isDefaultGateway: true,
    ipMasq: true,
    hairpinMode: true,
    ipam,
  };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  return JSON.stringify({ cniVersion: '0.4.0', name: 'test', plugins: [bridge, portmap] });
}

export function kubeletConfig({ folder, clientCaFile, cgroup }: NodePlan): string {
  return JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: clientCaFile },
    },
    authorization: { mode: 'Webhook' },
    containerRuntimeEndpoint: `unix://${folder}/containerd.sock`,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: cgroup,
    // The kernels of some CI machines have no other.
    failCgroupV1: false,
    // Ready some ten seconds sooner.
    nodeStatusUpdateFrequency: '1s',
    failSwapOn: false,
    clusterDNS: [DNS_ADDRESS],
    clusterDomain: 'cluster.local',
    // Names outside the cluster are nobody's.
    resolvConf: '',
    enforceNodeAllocatable: [],
    oomScoreAdj: 0,
    evictionHard: { 'nodefs.available': '1%', 'imagefs.available': '1%', 'memory.available': '50Mi' },
    podLogsDir: `${folder}/pod-logs`,
    volumePluginDir: `${folder}/volume-plugins`,
  });
}

export function kubeProxyConfig({ name, podCidr, proxyKubeconfig }: NodePlan): string {
  return JSON.stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'iptables',
    clientConnection: { kubeconfig: proxyKubeconfig },
    hostnameOverride: name,
    clusterCIDR: podCidr,
    linux: { oomScoreAdj: 0 },
    // nf_conntrack_max belongs to the whole machine.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  });
}
