import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';

const main = join(import.meta.dirname, '../src/main.ts');

t.test(
  'a server that cannot be started whole ends with the reason, whatever of it runs already',
  async (t) => {
    const folder = t.testdir({ manifests: {} });
    const secret = join(folder, 'psk.json');
    execFileSync(
      process.execPath,
      [main, 'identity', 'psk', '--trust-domain=cluster.local', '--out', secret],
      { stdio: 'ignore' },
    );
    const flags = [
      '--pod=demo/web',
      `--manifests=${join(folder, 'manifests')}`,
      '--identity=psk',
      `--psk=${secret}`,
    ];
    // An address of nobody's (RFC 5737): its data thread runs by then, and it listens for signals.
    const child = spawn(process.execPath, [main, 'proxy', ...flags, '--metrics=192.0.2.1:14020'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    t.strictSame(await once(child, 'close'), [1, null]);
    t.match(said, /192\.0\.2\.1/);
  },
);
