import t from 'tap';
import { testApiServer } from '../support/api-contract.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';

t.setTimeout(600_000);
for (const level of ['oldest', 'current'] as const) {
  testApiServer(t, `the fake API server, as of the ${level} Kubernetes`, async () => {
    const server = await new FakeApiServer({ level }).start();
    const admin = server.client();
    server.allows = ({ groups }) => groups.includes('system:masters');
    t.teardown(async () => {
      await admin.close();
      await server.close();
    });
    return {
      admin,
      as: (token) => server.client({}, token),
      compact: async () => server.store.compact(),
      restart: async () => {
        await server.stop();
        await server.start();
      },
    };
  });
}
