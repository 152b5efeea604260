import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';

t.test(
  'native data path: a thread of Node.js that ends with one open takes it along, and nobody else',
  (t) => {
    const { stdout, stderr, signal, status } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, 'ending-worker.inside.ts')],
      { encoding: 'utf8', timeout: 60_000 },
    );
    t.strictSame({ stdout, signal, status }, { stdout: 'all ended\n', signal: null, status: 0 }, stderr);
    t.end();
  },
);
