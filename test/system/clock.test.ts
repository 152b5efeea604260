import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { rawPolicy } from '../authority/cluster.ts';
import { AuthorityCluster } from '../support/authority-cluster.ts';
import { cannotNetns } from '../support/netns.ts';
import { HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const HOUR = 3_600_000;

/** What a sidecar's process loads first: a clock that is as far ahead as a file says, milliseconds, and says in another one what it has read. */
const CLOCK = (file: string): string => `
import { readFileSync } from 'node:fs';
const Real = Date;
let ahead = 0;
const read = () => {
  const text = readFileSync(${JSON.stringify(file)}, 'utf8');
  if (text !== '') ahead = Number(text);
};
read();
setInterval(read, 50).unref();
globalThis.Date = class Date extends Real {
  constructor(...given) {
    if (given.length === 0) super(Real.now() + ahead);
    else super(...given);
  }
  static now() { return Real.now() + ahead; }
};
`;

t.test(
  'clock, with real sidecars: with the authority dead three hours on refuse nobody, and five hours on everybody, with the reason',
  { skip: cannotNetns(), timeout: 240_000 },
  async (t) => {
    const world = await AuthorityCluster.start(t);
    const { cluster } = world;
    await world.put(
      rawPolicy('db', { app: 'db' }, 'demo', {
        ingress: [{ from: [{ podSelector: { matchLabels: { role: 'web' } } }] }],
      }),
    );
    const clock = join(cluster.folder, 'clock');
    writeFileSync(clock, '0');
    // In the copy of the program that the sidecars of this test run.
    writeFileSync(join(cluster.program, 'clock.mjs'), CLOCK(clock));
    const main = join(cluster.program, 'src/main.ts');
    writeFileSync(main, `import '../clock.mjs';\n${readFileSync(main, 'utf8')}`);
    const db = await world.pod('db', { app: 'db' });
    for (const [name, role] of Object.entries({ web: 'web', guest: 'guest' }))
      await world.pod(name, { role });
    await cluster.app('db', HTTP_APP('db'));
    const call = async (from: string): Promise<boolean> =>
      (await cluster.curl(from, `http://${db}:8080/`)).out.includes('db got');
    /** The clock of a pod's sidecar, as its records tell the time. */
    const hoursOn = async (count: number): Promise<void> => {
      writeFileSync(clock, String(count * HOUR));
      const text = (name: string): string => readFileSync(join(cluster.folder, `${name}.flow`), 'utf8');
      for (const name of ['web', 'guest', 'db']) {
        await until(`the clock of ${name} is ${count} hours on`, async () => {
          // A pod whose own identity is over calls nobody any more: who makes the server write has none.
          if (name === 'db')
            await cluster.network.run('switch', ['curl', '-sS', '--max-time', '5', `http://${db}:8080/`]);
          else await call(name);
          // The last line that is whole.
          const last = text(name).split('\n').at(-2) ?? '';
          const { time } = (last === '' ? {} : JSON.parse(last)) as { time?: string };
          return time !== undefined && Date.parse(time) > Date.now() + (count - 1) * HOUR;
        });
      }
    };
    t.ok(await call('web'));
    t.ok(await call('web'), 'resumed');
    t.notOk(await call('guest'));
    await world.tell({ authority: 'stop' });
    await until('the sidecars have noticed', async () =>
      (await cluster.curl('web', 'http://127.0.0.1:14020/readyz')).out.includes('last state stays'),
    );

    await hoursOn(3);
    for (const round of [1, 2, 3]) t.ok(await call('web'), `three hours on, call ${round}`);
    t.notOk(await call('guest'), 'and whom policy refuses stays refused');

    await hoursOn(5);
    const denials = (): number =>
      cluster.flows('web').filter(({ reason }) => /^(identity-unavailable|token-expired)$/.test(reason))
        .length;
    // That a clock was set is looked for once a second; one that just runs on ends sessions to the moment.
    await until('nobody is served', async () => !(await call('web')));
    for (const round of [1, 2, 3]) t.notOk(await call('web'), `five hours on, call ${round}`);
    await until('its records say why', () => denials() >= 3);
    await until('and so does its health', async () =>
      /^identity: /m.test((await cluster.curl('web', 'http://127.0.0.1:14020/readyz')).out),
    );
  },
);
