import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { FilesSource } from '../../src/sources/files-source.ts';

const POD = `apiVersion: v1
kind: Pod
metadata: {name: self, namespace: demo}
status: {podIP: 10.0.0.1}
`;
const POLICY = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: demo}
spec: {podSelector: {}}
`;

t.test('files source: a policy file that is broken from the start does not count as none', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-gaps-'));
  const write = (name: string, text: string): void => {
    writeFileSync(join(folder, `.${name}`), text);
    renameSync(join(folder, `.${name}`), join(folder, name));
  };
  write('pod.yaml', POD);
  write('policy.yaml', `${POLICY}  broken: [`);
  const source = new FilesSource({ folder, pod: 'demo/self', mode: 'enforce' });
  t.teardown(async () => {
    await source.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const started = source.start();
  await sleep(300);
  t.equal(source.snapshot, undefined, 'nothing to judge by, so everything is refused');
  t.match(source.problems[0]?.file, /policy\.yaml$/);
  write('policy.yaml', POLICY);
  await started;
  t.strictSame(
    source.snapshot?.policies.map((policy) => policy.name),
    ['closed'],
  );
});
