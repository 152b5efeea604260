import { spawnSync } from 'node:child_process';
import t from 'tap';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { cannotNetns } from '../support/netns.ts';
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

t.test(
  'a dial from the address of another host without the capability sends nothing, and says which error it was',
  { skip: cannotNetns() },
  async (t) => {
    const program = `
    import net from 'node:net';
    const { loadAddon } = await import('${new URL('../../src/native.ts', import.meta.url).href}');
    const { NativeDataPath } = await import('${new URL('../../src/relay/native-data-path.ts', import.meta.url).href}');
    const addon = loadAddon();
    try { addon.tryTransparent(); console.log('may'); } catch (error) { console.log(error.code); }
    const server = net.createServer((s) => console.log('reached from ' + s.remoteAddress)).listen(0, '127.0.0.1', async () => {
      const target = { address: '127.0.0.1', port: server.address().port };
      const path = new NativeDataPath(addon, {
        accepted: (id) => path.dial(id, target, { fastOpen: false, source: { address: '192.0.2.1', port: 5000 } }),
        dialled(id, error, local, report) { console.log(error, report.unbound); setTimeout(() => process.exit(0), 100); },
        closed() {},
      });
      const { endpoint } = await path.listen({ role: 'inbound', address: '127.0.0.1', port: 0 });
      net.connect(endpoint.port, '127.0.0.1').on('error', () => {});
    });`;
    const without = ['--bounding-set=-all', '--inh-caps=-all', process.execPath];
    const ended = spawnSync('setpriv', [...without, '--input-type=module', '--eval', program], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    t.equal(ended.stdout, 'EPERM\nEPERM true\n', ended.stderr);
  },
);
