import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { FilesSource, type FilesSourceOptions } from '../../src/sources/files-source.ts';
import { problemText } from '../../src/sources/manifest-folder.ts';
import type { SourceContents, SourceOrigin } from '../support/source-compliance.ts';

/** A folder of manifests that a test writes into. */
export class Folder {
  readonly path: string;
  readonly #parent = mkdtempSync(join(tmpdir(), 'countersign-files-'));

  constructor() {
    this.path = join(this.#parent, 'manifests');
    mkdirSync(this.path);
  }

  /** Beside the folder: what is made here is not seen. */
  beside(name: string): string {
    return join(this.#parent, name);
  }

  at(name: string): string {
    return join(this.path, name);
  }

  /** In place, as a shell's `>` does. */
  write(name: string, text: string | Uint8Array): void {
    writeFileSync(this.at(name), text);
  }

  /** By rename, as editors and kubelet do. */
  replace(name: string, text: string): void {
    writeFileSync(this.beside('new'), text);
    renameSync(this.beside('new'), this.at(name));
  }

  remove(name: string): void {
    rmSync(this.at(name), { recursive: true });
  }

  dispose(): void {
    rmSync(this.#parent, { recursive: true, force: true });
  }

  source(options: Partial<FilesSourceOptions> = {}): FilesSource {
    return new FilesSource({ folder: this.path, pod: 'shop/web', mode: 'enforce', ...options });
  }
}

export const WEB = pod('web', { app: 'web' });

export function pod(name: string, labels: Readonly<Record<string, string>>, more = ''): string {
  return `apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: shop
  labels: ${JSON.stringify(labels)}
${more}spec:
  containers: []
status:
  podIP: 10.1.0.${name.length}
`;
}

/** A policy that lets in who is named. */
export function policy(
  name: string,
  allowed = 'api',
  selected: Readonly<Record<string, string>> = {},
): string {
  return `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: ${name}
  namespace: shop
spec:
  podSelector:
    matchLabels: ${JSON.stringify(selected)}
  ingress:
    - from:
        - podSelector:
            matchLabels:
              app: ${allowed}
`;
}

/** A source on a folder, started and closed with its test. */
export async function startedIn(
  t: Test,
  files: Readonly<Record<string, string>>,
): Promise<{ folder: Folder; source: FilesSource }> {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  for (const [name, text] of Object.entries(files)) folder.write(name, text);
  const source = folder.source();
  t.teardown(() => source.close());
  await source.start();
  return { folder, source };
}

export function policyNames(source: FilesSource): string[] {
  return source.snapshot?.policies.map(({ name }) => name).toSorted() ?? [];
}

export function told(source: FilesSource): string {
  return source.problems.map(problemText).join('\n');
}

export async function makeFilesOrigin(): Promise<SourceOrigin> {
  const folder = new Folder();
  return {
    open: () => folder.source(),
    write: async ({ labels, policies }: SourceContents) => {
      const text = [pod('web', labels), ...policies.map((name) => policy(name))].join('---\n');
      folder.replace('all.yaml', text);
    },
    spoil: async () => folder.replace('all.yaml', 'kind: Pod\n  name: [\n'),
    remove: async () => folder.dispose(),
  };
}
