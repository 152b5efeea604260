/**
 * What an image is made of, as CycloneDX 1.5 JSON on standard output: the npm packages whose code is in the bundles, the Debian packages
 * whose files are in the image, and Node.js. Runs in the build stage of the Dockerfile.
 *
 *   node tools/sbom.ts LIST   LIST names the files that were copied, one a line
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Component {
  type: 'library' | 'application';
  name: string;
  version: string;
  purl: string;
  licenses?: { license: { name: string } }[];
}

const root = join(import.meta.dirname, '..');
const read = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));
const own = read(join(root, 'package.json')) as { name: string; version: string };

const inputs = ['countersign', 'sidecar'].flatMap(
  (name) => read(join(root, `bundle/${name}.inputs.json`)) as string[],
);
const found = [
  ...npmPackages(inputs),
  ...debianPackages(readFileSync(process.argv[2]!, 'utf8')),
  nodeItself(),
];
const document = {
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  version: 1,
  metadata: { component: { type: 'application', name: own.name, version: own.version } },
  components: [...new Map(found.map((one) => [one.purl, one])).values()].sort((a, b) =>
    a.purl < b.purl ? -1 : 1,
  ),
};
process.stdout.write(`${JSON.stringify(document, null, 1)}\n`);

function npmPackages(files: readonly string[]): Component[] {
  const folders = new Set(
    files.flatMap((file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []),
  );
  return [...folders].map((folder) => {
    const { name, version, license } = read(join(root, folder, 'package.json')) as Record<string, string>;
    return {
      type: 'library',
      name: name!,
      version: version!,
      purl: `pkg:npm/${name!.replace('@', '%40')}@${version!}`,
      ...(typeof license === 'string' ? { licenses: [{ license: { name: license } }] } : {}),
    };
  });
}

function debianPackages(list: string): Component[] {
  const packages = new Set<string>();
  for (const file of list.split('\n').filter((line) => line !== '')) {
    // dpkg may know a file by the name from before /lib became a link.
    for (const name of [file, file.replace(/^\/usr/, '')]) {
      try {
        const found = execFileSync('dpkg-query', ['-S', name], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        packages.add(found.slice(0, found.lastIndexOf(': ')));
        break;
      } catch {
        // Not of a package, or by the other name.
      }
    }
  }
  return [...packages].map((name) => {
    const shown = execFileSync('dpkg-query', ['-W', '-f', '${Package} ${Version} ${Architecture}', name], {
      encoding: 'utf8',
    });
    const [bare, version, architecture] = shown.split(' ') as [string, string, string];
    return {
      type: 'library',
      name: bare,
      version,
      purl: `pkg:deb/debian/${bare}@${encodeURIComponent(version)}?arch=${architecture}`,
    };
  });
}

function nodeItself(): Component {
  const version = process.versions.node;
  return { type: 'application', name: 'node', version, purl: `pkg:generic/node@${version}` };
}
