import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { rawPolicy } from '../authority/cluster.ts';
import { AuthorityCluster } from '../support/authority-cluster.ts';
import { cannotNetns } from '../support/netns.ts';
import { HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const ALLOW_WEB = rawPolicy('db', { app: 'db' }, 'demo', {
  ingress: [{ from: [{ podSelector: { matchLabels: { role: 'web' } } }] }],
});

t.test(
  'authority, with real sidecars: labels decide, a change of labels cuts what is open, and an outage refuses nobody',
  { skip: cannotNetns(), timeout: 240_000 },
  async (t) => {
    const world = await AuthorityCluster.start(t);
    await world.put(ALLOW_WEB);
    const db = await world.pod('db', { app: 'db' });
    await world.pod('web', { role: 'web' });
    await world.pod('guest', { role: 'guest' });
    const { cluster } = world;
    await cluster.app('db', HTTP_APP('db'));
    const call = async (from: string): Promise<boolean> =>
      (await cluster.curl(from, `http://${db}:8080/`)).out.includes('db got');

    t.ok(await call('web'), 'the first call of all, to an address that nobody had asked about');
    t.notOk(await call('guest'));
    const denied = await cluster.flow('db', (flow) => flow.verdict === 'deny');
    t.match(denied, { reason: 'policy-denied', peer: 'proven' });

    // A connection that stays open, and sessions that would be resumed. The machine may be busy: one quick round of five shows that it can be.
    const took: number[] = [];
    while (took.length < 5 && !(Math.min(...took) < 1_000)) {
      await world.describe('web', { role: 'web' });
      await until('it is let in', () => call('web'));
      const open = cluster.network.start('web', [
        join(cluster.program, '.setup/node'),
        '-e',
        `const s = require('net').connect(8080, '${db}').on('close', () => console.log('cut')).on('error', () => {});
        s.once('data', () => console.log('up')).write('GET / HTTP/1.1\\r\\nHost: db\\r\\n\\r\\n');`,
      ]);
      const lines = createInterface({ input: open.stdout! })[Symbol.asyncIterator]();
      t.equal((await lines.next()).value, 'up');
      const from = performance.now();
      await world.describe('web', { role: 'other' });
      t.equal((await lines.next()).value, 'cut');
      took.push(performance.now() - from);
    }
    t.ok(Math.min(...took) < 1_000, `cut within a second: ${took.map(Math.round).join(', ')} ms`);
    t.notOk(await call('web'), 'nor is a new one let in');
    await world.describe('web', { role: 'web' });
    await until('it is let in again', () => call('web'));

    await world.tell({ authority: 'stop' });
    await until('the sidecar has noticed', async () =>
      (await cluster.curl('web', 'http://127.0.0.1:14020/readyz')).out.includes('last state stays'),
    );
    t.ok(await call('web'), 'without an authority');
    t.notOk(await call('guest'), 'and it widens nothing');
    await world.tell({ authority: 'start' });
    await world.describe('guest', { role: 'web' });
    await until('news arrive again', () => call('guest'));
  },
);
