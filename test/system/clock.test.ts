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
const MODES = ['redirect', 'nfqueue'] as const;

/** What a sidecar's process loads first: a clock that is as far ahead as a file says, milliseconds. */
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
  'clock, with real sidecars in both modes and between them: with the authority dead three hours on refuse nobody, and five hours on everybody, with the reason',
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
    const servers: Record<string, string> = {};
    for (const mode of MODES) {
      servers[mode] = await world.pod(`db-${mode}`, { app: 'db' }, mode);
      for (const role of ['web', 'guest']) await world.pod(`${role}-${mode}`, { role }, mode);
      await cluster.app(`db-${mode}`, HTTP_APP('db'));
    }
    /** Of every mode to every mode: whether each was answered. */
    const calls = async (role: 'web' | 'guest'): Promise<readonly boolean[]> => {
      const pairs = MODES.flatMap((from) => MODES.map((to) => [from, to] as const));
      return Promise.all(
        pairs.map(async ([from, to]) =>
          (
            await cluster.curl(`${role}-${from}`, `http://${servers[to]}:8080/`, '--max-time', '9')
          ).out.includes('db got'),
        ),
      );
    };
    const [ALL, NONE] = [
      [true, true, true, true],
      [false, false, false, false],
    ];
    /** The clocks of the sidecars, as their records tell the time. */
    const hoursOn = async (count: number): Promise<void> => {
      writeFileSync(clock, String(count * HOUR));
      const isOn = (name: string): boolean => {
        // The last line that is whole.
        const last =
          readFileSync(join(cluster.folder, `${name}.flow`), 'utf8')
            .split('\n')
            .at(-2) ?? '';
        const { time } = (last === '' ? {} : JSON.parse(last)) as { time?: string };
        return time !== undefined && Date.parse(time) > Date.now() + (count - 1) * HOUR;
      };
      // A pod whose own identity is over calls nobody any more; the node has none.
      await until(`all clocks are ${count} hours on`, async () => {
        for (const { four } of cluster.addresses.values())
          await cluster.network.run('switch', ['curl', '-s', '--max-time', '5', `http://${four}:8080/`]);
        return [...cluster.addresses.keys()].every(isOn);
      });
    };
    // A client that started before a server hears of it from the authority, which is stopped below.
    await until('all have heard of each other', async () => !(await calls('web')).includes(false));
    t.strictSame(await calls('web'), ALL, 'resumed');
    t.strictSame(await calls('guest'), NONE);
    await world.tell({ authority: 'stop' });
    const readyz = async (name: string): Promise<string> =>
      (await cluster.curl(name, 'http://127.0.0.1:14020/readyz')).out;
    for (const mode of MODES)
      await until('the sidecars have noticed', async () =>
        (await readyz(`web-${mode}`)).includes('last state stays'),
      );

    await hoursOn(3);
    for (const round of [1, 2, 3]) t.strictSame(await calls('web'), ALL, `three hours on, call ${round}`);
    t.strictSame(await calls('guest'), NONE, 'and whom policy refuses stays refused');

    await hoursOn(5);
    // That a clock was set is looked for once a second; one that just runs on ends sessions to the moment.
    await until('nobody is served', async () => !(await calls('web')).includes(true));
    for (const round of [1, 2, 3]) t.strictSame(await calls('web'), NONE, `five hours on, call ${round}`);
    for (const mode of MODES) {
      const denials = (): number =>
        cluster
          .flows(`web-${mode}`)
          .filter(({ reason }) => /^(identity-unavailable|token-expired)$/.test(reason)).length;
      await until('its records say why', () => denials() >= 3);
      await until('and so does its health', async () => /^identity: /m.test(await readyz(`web-${mode}`)));
    }
  },
);
