import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';

t.test('native netlink: a thread that ends while the kernel has news for it takes nobody with it', (t) => {
  const { stdout, stderr, signal, status } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'ending-worker.inside.ts')],
    { encoding: 'utf8' },
  );
  t.strictSame({ stdout, signal, status }, { stdout: 'all ended\n', signal: null, status: 0 }, stderr);
  t.end();
});
