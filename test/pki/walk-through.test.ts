import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CertificateIdentity } from '../../src/pki/certificate-identity.ts';
import { samplePod } from '../identity/samples.ts';

const PAGE = join(import.meta.dirname, '../../docs/identity.md');

/** The commands of the page, as they stand there. */
function commands(): string {
  const found = /<!-- walk-through -->\s+```sh\n([^`]*)```/.exec(readFileSync(PAGE, 'utf8'))?.[1];
  if (found === undefined) throw new Error('docs/identity.md has no walk-through any more');
  return found;
}

t.test(
  'walk-through: the commands of docs/identity.md make a certificate that a sidecar takes',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'countersign-walk-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const output = execFileSync('bash', ['-euo', 'pipefail', '-c', commands()], {
      cwd: folder,
      encoding: 'utf8',
      stdio: 'pipe',
    });
    t.match(output, /pod\.pem: OK/);
    const identity = new CertificateIdentity({
      certificate: join(folder, 'pod.pem'),
      key: join(folder, 'pod.key'),
      trust: join(folder, 'roots.pem'),
      trustDomain: 'cluster.local',
    });
    t.teardown(() => identity.close());
    const uid = '0b1f4d52-6a31-4a6f-9a38-1d7f3f6b1c11';
    await identity.describe({
      pod: samplePod({ namespace: 'shop', name: 'web', uid, serviceAccount: 'default' }),
      namespaceLabels: {},
    });
    t.equal(identity.problem, undefined);
    const { token, podUid } = identity.credentials()!;
    t.equal(podUid, uid);
    t.comment(`${token.length} bytes on the wire`);
    t.ok(token.length < 700, 'its size on the wire is about what the page says');
  },
);
