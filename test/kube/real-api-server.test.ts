import t from 'tap';
import { testApiServer } from '../support/api-contract.ts';
import { KubeControlPlane } from '../support/kube-control-plane.ts';

t.setTimeout(600_000);
testApiServer(t, 'a real API server', async () => {
  const plane = await KubeControlPlane.start(t);
  const admin = plane.client();
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } };
  await admin.create('/api/v1/nodes', node);
  return {
    admin,
    as: (token) => plane.client(token),
    compact: () => plane.compact(),
    restart: () => plane.restart(),
  };
});
