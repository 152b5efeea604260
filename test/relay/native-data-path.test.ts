import { spawnSync } from 'node:child_process';
import t from 'tap';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { testDataPathCompliance } from '../support/data-path-compliance.ts';

testDataPathCompliance(t, 'native data path', (events) => new NativeDataPath(loadAddon(), events));

t.test(
  'an error that a handler throws ends the process instead of losing the rest of the batch',
  async (t) => {
    const program = `
    import net from 'node:net';
    const { loadAddon } = await import('${new URL('../../src/native.ts', import.meta.url).href}');
    const { NativeDataPath } = await import('${new URL('../../src/relay/native-data-path.ts', import.meta.url).href}');
    const path = new NativeDataPath(loadAddon(), { accepted() { throw new Error('of the handler'); } });
    const { endpoint } = await path.listen({ role: 'inbound', address: '127.0.0.1', port: 0 });
    net.connect(endpoint.port, '127.0.0.1').on('error', () => {});
    setTimeout(() => process.exit(0), 5_000);`;
    const ended = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      encoding: 'utf8',
    });
    t.equal(ended.status, 1);
    t.match(ended.stderr, 'Error: of the handler');
  },
);
