import t from 'tap';
import { ApiCluster, GREETER, hold } from '../support/api-cluster.ts';
import { cannotNetns } from '../support/netns.ts';
import { HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);

t.test('sidecars that read a real API server themselves', { skip, timeout: 590_000 }, async (t) => {
  const world = await ApiCluster.start(t);
  const { plane, cluster } = world;
  const names = { server: { app: 'server' }, approved: { drinks: 'beer' }, other: {} };
  for (const [name, labels] of Object.entries(names)) await world.pod(name, labels);
  for (const name of Object.keys(names)) await cluster.startSidecar(name, world.flags);
  await cluster.app('server', HTTP_APP('server'));
  await cluster.app('server', GREETER);
  const url = `http://${cluster.addresses.get('server')!.four}:8080/`;
  const served = async (name: string): Promise<boolean> =>
    (await cluster.curl(name, url)).out.includes('server got');

  t.ok(await served('other'), 'without a policy everybody is served');
  t.match(await cluster.flow('server', ({ source }) => source.pod === 'other'), {
    peer: 'proven',
    verdict: 'allow',
  });

  await t.test('a policy that is created cuts what it refuses, and who is allowed stays', async (t) => {
    const held = hold(cluster, 'other', cluster.addresses.get('server')!.four);
    await until('the connection is open', () => held.said.includes('open'));
    const began = Date.now();
    await world.allow('server', 'server', { drinks: 'beer' });
    await until('the connection ends', () => held.said.includes('end'));
    t.match(held.said, /ECONNRESET/, 'the connection that was open is cut');
    t.comment(`${Date.now() - began} ms from the API's request to the end of the connection`);
    t.notOk(await served('other'));
    t.ok(await served('approved'));
  });

  await t.test('a label that changes in the API counts at once', async (t) => {
    const patch = (drinks: string | null): Promise<void> => world.describe('other', { drinks });
    await patch('beer');
    await until('it is served', () => served('other'));
    await patch(null);
    await until('it is refused again', async () => !(await served('other')));
    t.pass('both ways');
  });

  await t.test('an API server that is killed changes nothing, and what it says later counts', async (t) => {
    await plane.signal('SIGKILL');
    await until('the sidecar tells of it', async () =>
      (await world.readyz('server')).includes('the last state stays in force'),
    );
    t.match(await world.readyz('server'), /^ready/);
    t.notOk(await served('other'));
    t.ok(await served('approved'));
    const age = async (): Promise<number> =>
      Number(
        /^countersign_source_age_seconds (\S+)$/m.exec(
          (await cluster.curl('server', 'http://127.0.0.1:14020/metrics')).out,
        )?.[1],
      );
    await until('its age grows', async () => (await age()) > 2);
    await plane.startApiServer();
    await until('the policy is deleted', () =>
      world.deletePolicy('server').then(
        () => true,
        () => false,
      ),
    );
    await until('it is served again', () => served('other'));
    await until('its age is small again', async () => (await age()) < 120);
    t.ok(await served('approved'));
  });
});
