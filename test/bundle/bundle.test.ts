import { execFile, execFileSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { loadBundle } from '../../src/launch.ts';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);
// A copy of what the bundles are made of, so that a bundle in the checkout stays as it is.
const copy = t.testdir();
for (const part of ['src', 'tools', 'package.json', 'native/build', 'manifests/demo']) {
  mkdirSync(join(copy, part, '..'), { recursive: true });
  cpSync(join(root, part), join(copy, part), {
    recursive: true,
    filter: (from) => !from.includes('node_modules'),
  });
}
execFileSync('ln', ['-s', join(root, 'node_modules'), join(copy, 'node_modules')]);
execFileSync(process.execPath, [join(copy, 'tools/bundle.ts')], { stdio: ['ignore', 'ignore', 'inherit'] });
const bundle = join(copy, 'bundle');
const inputs = (name: string): string[] =>
  JSON.parse(readFileSync(join(bundle, `${name}.inputs.json`), 'utf8')) as string[];

t.test(
  "bundle: a sidecar's holds neither the Kubernetes client nor tools, demo, admission or authority",
  (t) => {
    const forbidden =
      /node_modules\/(@kubernetes|@peculiar|asn1js|undici|ws|openid-client|zod)\/|src\/(policy-tools|demo|inject|injector|install|authority)\//;
    t.strictSame(
      inputs('sidecar').filter((file) => forbidden.test(file)),
      [],
    );
    t.ok(
      inputs('countersign').some((file) => forbidden.test(file)),
      'the pattern finds what the whole program has',
    );
    t.ok(statSync(join(bundle, 'sidecar.js')).size < 800_000, 'its size, which every pod pays for');
    t.end();
  },
);

t.test('bundle: both programs run from the bundle as from the source', async (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  for (const name of ['countersign', 'sidecar']) {
    const { stdout } = await run(process.execPath, [join(bundle, `${name}.cjs`), 'version']);
    t.match(stdout, version, name);
  }
  const explained = ['policy', 'lint', '-f', join(root, 'manifests/demo')];
  const { stdout } = await run(process.execPath, [join(bundle, 'countersign.cjs'), ...explained]);
  t.equal(stdout, (await run(process.execPath, [join(root, 'src/main.ts'), ...explained])).stdout);
});

t.test('bundle: the sidecar knows the commands of a pod and no others', async (t) => {
  const { stdout } = await run(process.execPath, [join(bundle, 'sidecar.cjs'), '--help']);
  t.match(stdout, /proxy/);
  t.match(stdout, /redirect/);
  await t.rejects(run(process.execPath, [join(bundle, 'sidecar.cjs'), 'policy', 'lint']), { code: 2 });
  // A file that can be read, for flags that name one.
  const any = join(copy, 'package.json');
  const reading = [
    'proxy',
    '--pod',
    'a/b',
    '--source',
    'kubernetes',
    '--api-server',
    'https://127.0.0.1:1',
    '--api-token',
    any,
  ];
  const rest = ['--api-ca', any, '--identity', 'psk', '--psk', any, '--metrics', '127.0.0.1:0'];
  await t.rejects(run(process.execPath, [join(bundle, 'sidecar.cjs'), ...reading, ...rest]), {
    code: 2,
    stderr: /run bundle\/countersign\.cjs proxy instead/,
  });
  const certified = ['proxy', '--pod', 'a/b', '--manifests', copy, '--identity', 'pki', '--certificate', any];
  const trusting = ['--trust', any, '--trust-domain', 'cluster.local', '--metrics', '127.0.0.1:0'];
  await t.rejects(run(process.execPath, [join(bundle, 'sidecar.cjs'), ...certified, ...trusting]), {
    code: 2,
    stderr:
      /--identity pki is not in the bundle for injected pods: run bundle\/countersign\.cjs proxy instead/,
  });
});

t.test('bundle: the code cache is taken, with the heap flags of a pod too', async (t) => {
  t.equal(loadBundle(join(bundle, 'sidecar.js')).cachedDataRejected, false);
  const probe = `import { loadBundle } from ${JSON.stringify(join(root, 'src/launch.ts'))};
    console.log(loadBundle(${JSON.stringify(join(bundle, 'sidecar.js'))}).cachedDataRejected)`;
  const flags = ['--disable-sigusr1', '--max-old-space-size=64', '--max-semi-space-size=1'];
  const { stdout } = await run(process.execPath, [...flags, '--input-type=module', '-e', probe]);
  t.equal(stdout, 'false\n');
});

t.test(
  "bundle: the code cache of a sidecar holds what a pod's start runs, not what a command line does alone",
  (t) => {
    const odd = join(copy, 'unrehearsed/sidecar.js');
    mkdirSync(join(odd, '..'));
    copyFileSync(join(bundle, 'sidecar.js'), odd);
    execFileSync(process.execPath, [join(copy, 'tools/bundle-cache.ts'), odd]);
    const [rehearsed, unrehearsed] = [join(bundle, 'sidecar.js'), odd].map(
      (file) => statSync(`${file}.cache`).size,
    );
    t.ok(rehearsed! > 2 * unrehearsed!, `${rehearsed} bytes, without a rehearsal ${unrehearsed}`);
    t.end();
  },
);

t.test('bundle: a cache that is damaged, foreign or absent costs time and nothing else', async (t) => {
  const odd = join(copy, 'odd');
  cpSync(bundle, join(odd, 'bundle'), { recursive: true });
  copyFileSync(join(root, 'package.json'), join(odd, 'package.json'));
  const cache = join(odd, 'bundle/sidecar.js.cache');
  const works = async (what: string): Promise<void> => {
    const { stdout } = await run(process.execPath, [join(odd, 'bundle/sidecar.cjs'), 'version']);
    t.match(stdout, /countersign \d/, what);
  };
  truncateSync(cache, 100);
  await works('cut off');
  copyFileSync(join(bundle, 'countersign.js.cache'), cache);
  await works("another program's");
  rmSync(cache);
  await works('absent');
  appendFileSync(join(odd, 'bundle/sidecar.js'), '\n// newer\n');
  copyFileSync(join(bundle, 'sidecar.js.cache'), cache);
  await works('older than the program');
});
