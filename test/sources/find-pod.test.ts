import { mkdirSync } from 'node:fs';
import t from 'tap';
import { findPod } from '../../src/sources/manifest-folder.ts';
import { Folder, pod, WEB } from './folder.ts';

t.test('find pod: the pod and the labels of its namespace', async (t) => {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  folder.write('pod.yaml', WEB);
  folder.write('ns.yaml', 'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n');
  t.match(await findPod(folder.path, 'shop/web'), {
    pod: { name: 'web', labels: { app: 'web' } },
    namespaceLabels: { team: 'a', 'kubernetes.io/metadata.name': 'shop' },
  });
});

t.test('find pod: what is wrong is said, and what there is instead', async (t) => {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  const rejects = async (name: string, message: RegExp): Promise<void> => {
    await t.rejects(findPod(folder.path, name), { name: 'UserError', message });
  };
  await rejects('shop/web', /^no pod shop\/web in .*: it has no pods$/);
  folder.write('pod.yaml', WEB);
  await rejects('default/web', /did you mean shop\/web\?/);
  await rejects('web', /did you mean shop\/web\?/);
  await rejects('shop/api', /it has shop\/web$/);
  for (let index = 0; index < 12; index++) folder.write(`p${index}.yaml`, pod(`p${index}`, {}));
  await rejects('shop/api', /shop\/p7 and 3 more$/);
  folder.write('broken.yaml', `# x\n${WEB.replace('name: web', 'name: [x]')}`);
  await rejects('shop/web', /broken\.yaml:\d+: /);
  await t.rejects(findPod(folder.at('nowhere'), 'shop/web'), {
    message: /cannot read the folder .*nowhere: ENOENT/,
  });
});

t.test('find pod: more subfolders than anybody has are refused', async (t) => {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  mkdirSync(folder.at(Array.from({ length: 20 }, () => 'd').join('/')), { recursive: true });
  await t.rejects(findPod(folder.path, 'shop/web'), { message: /deeper than 16/ });
});
