/** Starts a cluster with a pod and waits to be killed: run by a test of what is left then. Says the cluster's folder and cgroup when the pod runs. */
import { KubeCluster, TEST_IMAGE } from '../support/kube-cluster.ts';

const cluster = await KubeCluster.start({ teardown() {}, afterEach() {}, passing: () => true });
await cluster.apply({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'idle', namespace: 'default' },
  spec: {
    containers: [
      { name: 'idle', image: TEST_IMAGE, imagePullPolicy: 'Never', command: ['/bin/sleep', '100000'] },
    ],
  },
});
await cluster.podsReady('default');
process.stdout.write(`${cluster.plane.folder}\n`);
setInterval(() => {}, 1e6);
