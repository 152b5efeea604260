import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import t from 'tap';

const root = join(import.meta.dirname, '..');

/** Files that take values and `now` and return values. */
const PURE = [
  /^src\/lib\//,
  /^src\/policy\//,
  /^src\/peers\//,
  /^src\/identity\/(claims|compact|inflate|verify|issue|trust|federation|foreign-identity)\.ts$/,
  /^src\/pki\/(certificate|chain-form|pem|pod-name|verify-chain)\.ts$/,
  /^src\/handshake\/(?!run\b)/,
  /^src\/inject\//,
  /^src\/checks\/(?!fetch-facts|trial-pods|look-at-cluster|ask-sidecar|bug-report)/,
  /^src\/install\//,
  /^src\/injector\/(review|events|metric-list)\.ts$/,
  /^src\/redirect\/(plan|ports)/,
  /^src\/netlink\/(?!query-socket)/,
  /^src\/nfqueue\/(marks|packet-path|queue-statistics)\.ts$/,
  /^src\/sources\/(objects(-\w+)?|source|manifest-(text|file|nodes|yaml)|cluster-contents|enforcement|stand-in|unfinished|folder-state|snapshot-of)\.ts$/,
  /^src\/(workloads|policy-tools)\/(?!read)/,
  /^src\/observe\/(reasons|record|readiness|metric-list|metrics-text)\.ts$/,
  /^src\/nfqueue\/(marks|packet-path|packets(-\w+)?|flow-(?!store)[\w-]+|first-calls|carrier-\w+|fallback-memory|token-bucket|strangers|heard-packet|stray-packets|ended-pace)\.ts$/,
  /^src\/proxy\/(clock-steps|syn|judgement|half-open|target|view)\.ts$/,
  /^src\/demo\/(capture|totals)\.ts$/,
  /^src\/kube\/(api-error|backoff|watch-(lines|event)|resources|object-store|cluster-objects)\.ts$/,
  /^src\/authority-protocol\//,
  /^src\/authority-client\/(slice-store|questions|asking-directory)\.ts$/,
  /^src\/authority\/(cluster-lookup|metric-list|slice|stream-state|token-review|pod-check|identity-records|rate-limit|networks|federation-(settings|entries)|told-trust|pending-questions|keyed-lists|dependents)\.ts$/,
  /^src\/rotation\/(schedule|shared-object)\.ts$/,
  /^src\/certificates\/(certificate-authority|authority-state)\.ts$/,
];
const EFFECTS =
  /^node:(net|fs|http|https|child_process|timers|dgram|tls|worker_threads|os|process|dns)(\/|$)|^(pino|prom-client|undici)$/;
const PURE_MAY = new Set(['src/lib/address.ts node:net']); // isIPv4 and isIPv6 only read text

interface Import {
  from: string;
  to: string;
  typeOnly: boolean;
}

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const pattern =
    /^(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\('([^']+)'\)/gm;
  return [...text.matchAll(pattern)].map((match) => {
    const specifier = match[2] ?? match[3] ?? match[4] ?? '';
    const to = specifier.startsWith('.') ? normalize(join(dirname(file), specifier)) : specifier;
    return { from: file, to, typeOnly: match[1] !== undefined };
  });
}

const files = sources('src');
const imports = files.flatMap(importsOf);
const isPure = (file: string): boolean => PURE.some((pattern) => pattern.test(file));

t.test('architecture: the import reader sees the imports', (t) => {
  t.ok(files.length > 5);
  t.ok(imports.some((one) => one.from === 'src/main.ts' && one.to === 'src/program.ts'));
  t.end();
});

t.test('architecture: a pure file imports nothing that has effects', (t) => {
  const broken = imports.filter(
    (one) => isPure(one.from) && EFFECTS.test(one.to) && !PURE_MAY.has(`${one.from} ${one.to}`),
  );
  t.strictSame(broken, []);
  t.end();
});

t.test('architecture: a pure file imports values only from pure files', (t) => {
  const broken = imports.filter(
    (one) =>
      isPure(one.from) &&
      one.to.startsWith('src/') &&
      !one.typeOnly &&
      !isPure(one.to) &&
      one.to !== 'src/errors.ts',
  );
  t.strictSame(broken, []);
  t.end();
});

t.test('architecture: only src/native.ts loads the addon', (t) => {
  const loads = (file: string): RegExp =>
    file === 'src/launch.ts' ? /\.node['"]/ : /\.node['"]|createRequire/;
  const broken = files.filter(
    (file) => file !== 'src/native.ts' && loads(file).test(readFileSync(join(root, file), 'utf8')),
  );
  t.strictSame(broken, []);
  t.end();
});

t.test('architecture: netlink knows nothing of what the product does with it', (t) => {
  const broken = imports.filter(
    (one) =>
      one.from.startsWith('src/netlink/') &&
      one.to.startsWith('src/') &&
      !one.to.startsWith('src/netlink/') &&
      one.to !== 'src/native.ts',
  );
  t.strictSame(broken, []);
  t.end();
});

t.test(
  'architecture: only the kubeconfig reader loads the client library, and only when it is called',
  (t) => {
    const loaders = files.filter((file) =>
      /^(?!import type ).*'@kubernetes\/client-node'/m.test(readFileSync(join(root, file), 'utf8')),
    );
    t.strictSame(loaders, ['src/kube/kubeconfig.ts']);
    const [loader] = imports.filter((one) => one.to === '@kubernetes/client-node' && !one.typeOnly);
    t.match(
      readFileSync(join(root, 'src/kube/kubeconfig.ts'), 'utf8'),
      /await import\('@kubernetes\/client-node'\)/,
    );
    t.ok(loader);
    t.end();
  },
);

t.test('architecture: commands are composition roots, nobody imports them but the program', (t) => {
  const broken = imports.filter(
    (one) =>
      one.to.startsWith('src/commands/') &&
      !/^src\/(commands\/|program\.ts|sidecar-main\.ts|main\.ts)/.test(one.from),
  );
  t.strictSame(broken, []);
  t.end();
});

t.test(
  'architecture: only the configuration reads the environment, and no file is a drawer for anything',
  (t) => {
    for (const file of files) {
      const text = readFileSync(join(root, file), 'utf8');
      if (file !== 'src/config.ts') t.notMatch(text, /process\.env/, `${file} reads process.env`);
      t.notMatch(file, /(utils?|helpers?|index)\.ts$/, `${file} is a drawer`);
      t.notMatch(text, /^export default/m, `${file} has a default export`);
    }
    t.end();
  },
);

t.test(
  'architecture: what both sides of the authority share, and what the sidecar has of it, needs no Kubernetes client',
  (t) => {
    const broken = imports.filter(
      (one) =>
        /^src\/authority-(protocol|client)\//.test(one.from) &&
        /^@kubernetes\/|^undici$|^@peculiar\/|^src\/(authority|kube|certificates|rotation|inject|commands)\//.test(
          one.to,
        ),
    );
    t.strictSame(broken, []);
    t.end();
  },
);

t.test('architecture: imports carry no path out of the project', (t) => {
  const broken = imports.filter(
    (one) => one.to.startsWith('..') || relative(root, join(root, one.to)).startsWith('..'),
  );
  t.strictSame(broken, []);
  t.end();
});
