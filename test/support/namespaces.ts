import { namespaceNames } from '../../src/demo/namespaces.ts';
import { lifeOf } from '../../src/demo/process-life.ts';

const NAME = /^cst(\d+)\.(\d+)-/;

/** What the names of network namespaces begin with that belong to this process. {@link abandonedNamespaces} tells by it who has died. */
export function ownPrefix(): string {
  return `cst${lifeOf(process.pid)!.replace(' ', '.')}-`;
}

/** Network namespaces of test processes that are no more. */
export function abandonedNamespaces(): string[] {
  return namespaceNames().filter((name) => {
    const [, id, start] = NAME.exec(name) ?? [];
    return id !== undefined && lifeOf(Number(id)) !== `${id} ${start}`;
  });
}
