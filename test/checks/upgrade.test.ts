import t from 'tap';
import type { ClusterFacts } from '../../src/checks/facts.ts';
import { checkUpgrade, releasesText } from '../../src/checks/upgrade.ts';
import { facts, runningPod, SETTINGS } from './samples.ts';

const deployment = (name: string, tag: string) => ({
  metadata: { name },
  spec: { template: { spec: { containers: [{ name, image: `countersign:${tag}` }] } } },
});
const cluster = (authority: string, injector: string, ...sidecars: string[]): ClusterFacts =>
  facts({
    deployments: [
      deployment('countersign-authority', authority),
      deployment('countersign-injector', injector),
    ],
    pods: sidecars.map((release, index) => runningPod('shop', `web-${index}`, release)),
  });
const levels = (given: ClusterFacts): string[] => checkUpgrade(given, SETTINGS).map(({ level }) => level);

t.test('upgrade: to 1.4.0, by what runs', (t) => {
  const rows: readonly (readonly [string, ClusterFacts, readonly string[]])[] = [
    ['all the same', cluster('1.4.0', '1.4.0', '1.4.0'), ['ok', 'ok', 'ok']],
    ['the next minor', cluster('1.3.7', '1.3.7', '1.3.7'), ['note', 'note', 'note']],
    ['a patch', cluster('1.4.0-rc.1', '1.3.0', '1.4.0'), ['ok', 'note', 'ok']],
    ['two minors at once', cluster('1.2.0', '1.2.0'), ['error', 'error']],
    ['another major', cluster('0.9.0', '0.9.0'), ['error', 'error']],
    ['a rollback by one', cluster('1.5.0', '1.5.0'), ['warning', 'warning']],
    ['a sidecar that was never restarted', cluster('1.3.0', '1.3.0', '1.2.0'), ['note', 'note', 'error']],
    ['a tag that is no release', cluster('latest', '1.4.0'), ['warning', 'ok']],
    ['nothing there', facts({ deployments: [] }), ['warning', 'warning']],
  ];
  for (const [what, given, expected] of rows) t.strictSame(levels(given), expected, what);
  t.end();
});

t.test('upgrade: the control plane comes first, then the pods by name', (t) => {
  const findings = checkUpgrade(cluster('1.3.0', '1.3.0', '1.3.0', '1.3.0'), SETTINGS);
  t.match(findings[0]!.text, /^step 1: from 1\.3\.0 to 1\.4\.0/);
  t.match(findings[2]!.text, /^step 2: restart 2 pods .* shop\/web-0, shop\/web-1$/);
  t.end();
});

t.test('version: what runs in the cluster, by part, and what could not be seen', (t) => {
  t.equal(
    releasesText(cluster('1.3.0', '1.4.0', '1.3.0', '1.4.0')),
    `Kubernetes              v1.34.1
countersign-authority   1.3.0
countersign-injector    1.4.0
sidecars                1.3.0 in 1 pods
sidecars                1.4.0 in 1 pods
`,
  );
  t.match(releasesText(facts({ deployments: undefined, pods: undefined })), /sidecars +could not be seen/);
  t.match(releasesText(facts()), /sidecars +none/);
  t.end();
});
