import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { InstalledCluster } from '../support/installed-cluster.ts';
import { rigBinaries } from '../support/kube-control-plane.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const ROOT = join(import.meta.dirname, '../..');
const PATIENCE_MS = 120_000;
/** How an image comes to the nodes differs by cluster; here the test has brought it. */
const NOT_HERE = /^(make|kind|export) /;

t.test(
  'docs/quick-start.md: every command of it, in its order, gives what it says',
  { timeout: 900_000 },
  async (t) => {
    const installed = await InstalledCluster.bare(t);
    const { plane } = installed.cluster;
    const env = {
      KUBECONFIG: plane.kubeconfig(),
      PATH: `${join(ROOT, 'bin')}:${rigBinaries('kubectl')}:${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`,
      HOME: plane.folder,
    };
    const run = (command: string): Promise<{ status: number; said: string }> =>
      new Promise((resolve) => {
        execFile('bash', ['-o', 'pipefail', '-c', command], { cwd: ROOT, env }, (error, out, complaint) =>
          resolve({ status: error === null ? 0 : Number(error.code), said: out + complaint }),
        );
      });
    const lastLine = async (guest: string): Promise<string> =>
      (await installed.said('pub', guest, 'guest')).trim().split('\n').at(-1) ?? '';
    const says = (guest: string, wanted: RegExp) => async (): Promise<void> => {
      await t.resolves(
        until(
          `${guest} says ${wanted}`,
          async () => wanted.test(await lastLine(guest).catch(() => '')),
          PATIENCE_MS,
        ),
        `${guest}: ${wanted}`,
      );
    };
    const [beer, none] = [/^A beer, poured by beer-/, /^no beer: /];
    /** What the page says holds after the command that contains the text. */
    const after: [string, () => Promise<void>][] = [
      ['logs unapproved --tail=1', says('unapproved', beer)],
      ['apply -f manifests/examples/beer/policy.yaml', says('no-sidecar', beer)],
      ['countersign.io/mode-', says('unapproved', none)],
      ['countersign.io/mode-', says('no-sidecar', none)],
      ['countersign.io/mode-', says('approved', beer)],
      ['beer=approved', says('unapproved', beer)],
    ];
    const commands = commandsOf(readFileSync(join(ROOT, 'docs/quick-start.md'), 'utf8'));
    t.ok(commands.length > 15, `${commands.length} commands`);
    for (const command of commands.filter((one) => !NOT_HERE.test(one))) {
      // The page reads logs that a program writes: until they are there.
      const wanted = command.startsWith('countersign policy') ? 3 : 0;
      let result = await run(command);
      if (command.includes(' logs '))
        await until(command, async () => (result = await run(command)).status === 0, PATIENCE_MS);
      t.equal(result.status, wanted, `${command}\n${result.said.slice(-600)}`);
      for (const [part, holds] of after) if (command.includes(part)) await holds();
    }
    t.notMatch(await installed.kubectl(['get', 'namespaces', '-o', 'name']), /countersign|namespace\/pub$/m);
  },
);

/** The lines that are indented as code. */
function commandsOf(page: string): string[] {
  return page
    .split('\n')
    .filter((line) => line.startsWith('    '))
    .map((line) => line.trim());
}
