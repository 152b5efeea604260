import { posix } from 'node:path';

/** Where kubelet and the runtimes keep pods, their volumes and their sockets; `/proc` has the memory and the settings of the node. */
const TREES = [
  '/proc',
  '/etc/kubernetes',
  '/run/containerd',
  '/run/cri-dockerd.sock',
  '/run/crio',
  '/run/docker',
  '/run/docker.sock',
  '/run/k0s',
  '/run/k3s',
  '/run/netns',
  '/run/podman',
  '/var/lib/containerd',
  '/var/lib/containers',
  '/var/lib/cri-dockerd',
  '/var/lib/crio',
  '/var/lib/docker',
  '/var/lib/k0s',
  '/var/lib/kubelet',
  '/var/lib/rancher',
  '/var/snap/microk8s',
];

/**
 * Whether who mounts this path of the node has the keys of other pods' sidecars before him, or can have the runtime bring them: the path lies in
 * one of these trees, or above one. Symbolic links of the node's own beyond `/var/run` are not known here.
 */
export function reachesSidecars(path: string): boolean {
  const plain = posix
    .normalize(`/${path}/`)
    .replace(/^\/+/, '/')
    .replace(/^\/var\/run\//, '/run/');
  return (
    TREES.some((tree) => `${tree}/`.startsWith(plain) || plain.startsWith(`${tree}/`)) || plain === '/run/'
  );
}
