import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { CA_ROTATION } from '../../src/certificates/authority-state.ts';
import { SIGNING_ROTATION } from '../../src/authority/signing-keys.ts';
import { CA_FOLDER } from '../../src/inject/names.ts';
import { COUNTING, counted } from '../support/counting-client.ts';
import {
  allowOnly,
  IDLE,
  InstalledCluster,
  list,
  namespace,
  pod,
  REFUSED,
  service,
  workload,
} from '../support/installed-cluster.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const SYSTEM = 'countersign-system';
const AUTHORITIES = ['countersign-authority-ca', 'countersign-injector-ca'];
const KEYS = 'countersign-signing-keys';
/** Replicas look every half minute, and kubelet brings a ConfigMap to its pods within a minute or two. */
const PATIENCE_MS = 300_000;

t.test('certificates and keys that rotate', { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.start(t);
  const { cluster } = installed;
  const dataOf = async (secret: string): Promise<Record<string, string>> =>
    (await installed.json<{ data: Record<string, string> }>(['-n', SYSTEM, 'get', 'secret', secret])).data;
  /** Makes what is in a Secret older: its fields are named by when they were made. */
  const age = async (secret: string, seconds: number): Promise<void> => {
    const object = await installed.json<{ data: Record<string, string> }>([
      ...['-n', SYSTEM, 'get', 'secret', secret],
    ]);
    const older = (field: string): string =>
      field.replace(/-(\d+)\./, (_, made: string) => `-${Number(made) - Math.ceil(seconds)}.`);
    const data = Object.fromEntries(Object.entries(object.data).map(([name, value]) => [older(name), value]));
    await cluster.kubectl(['replace', '-f', '-'], JSON.stringify({ ...object, data }));
  };
  const generations = async (secret: string): Promise<number> =>
    Object.keys(await dataOf(secret)).filter((field) => /-\d+\.(crt|jwk)$/.test(field)).length;
  /** The certificates by which the API server believes each of the webhooks. */
  const believed = async (): Promise<string[]> => {
    const kinds = ['mutatingwebhookconfiguration', 'validatingwebhookconfiguration'];
    const bundles = await Promise.all(
      kinds.map((kind) =>
        cluster.kubectl([
          ...['get', kind, 'countersign', '-o'],
          'jsonpath={range .webhooks[*]}{.clientConfig.caBundle}{"\\n"}{end}',
        ]),
      ),
    );
    return [...new Set(bundles.join('').trim().split('\n'))].map((text) =>
      Buffer.from(text, 'base64').toString(),
    );
  };
  /** What a sidecar that lives finds in its volume now. */
  const carried = (who: string): Promise<string> =>
    cluster.exec(
      'turn',
      who,
      ['node', '-p', `require('fs').readFileSync('${CA_FOLDER}/ca.pem', 'utf8')`],
      'countersign-proxy',
    );
  const come = (what: string, holds: () => Promise<boolean>): Promise<void> =>
    until(what, holds, PATIENCE_MS);
  const eachHas = async (count: number): Promise<void> => {
    await come(`the webhooks are believed by ${count}`, async () => {
      const bundles = await believed();
      return bundles.length === 1 && certificatesIn(bundles[0]!).length === count;
    });
    for (const who of ['client', 'stranger'])
      await come(`${who} has ${count}`, async () => certificatesIn(await carried(who)).length === count);
  };

  await cluster.apply(
    list(
      namespace('turn', { 'countersign.io/inject': 'true' }),
      workload('Deployment', 'turn', 'web', 1),
      service('turn', 'web', { app: 'web' }),
      allowOnly('turn', 'web', { role: 'client' }),
      pod('turn', 'client', COUNTING, { labels: { role: 'client' } }),
      pod('turn', 'stranger', IDLE),
    ),
  );
  await installed.rolledOut('turn', 'deployment/web');
  await installed.ready('turn', 'client', 'stranger');
  await come('the client is answered', async () => (await counted(installed, 'turn')).good > 0);
  const before = await counted(installed, 'turn');
  const first = certificatesIn((await believed())[0]!);
  const initial = [...first, ...certificatesIn(await carried('client'))];
  const firstKeys = Object.values(await dataOf(KEYS));
  t.equal(initial.length, 2, 'one authority of the webhooks, one of the authority');
  t.strictSame(await Promise.all([...AUTHORITIES, KEYS].map(generations)), [1, 1, 1]);

  t.test('past its period each gets a successor, which everybody hears of before it is used', async (t) => {
    for (const secret of AUTHORITIES) await age(secret, CA_ROTATION.period);
    await age(KEYS, SIGNING_ROTATION.period);
    for (const secret of [...AUTHORITIES, KEYS])
      await come(`${secret} has two generations`, async () => (await generations(secret)) === 2);
    await eachHas(2);
    const now = certificatesIn((await believed())[0]!);
    t.ok(
      now.some((one) => one.fingerprint256 === first[0]!.fingerprint256),
      'the one in use is believed on',
    );
  });

  t.test('past the overlap the successor signs, and past its life the first one is gone', async (t) => {
    for (const secret of AUTHORITIES) await age(secret, CA_ROTATION.overlap);
    await age(KEYS, SIGNING_ROTATION.overlap);
    // Whoever serves by the first one until it looks the next time would be left out at once.
    await installed.injects();
    const served = async (): Promise<boolean> => {
      const shown = await servedCertificates(installed);
      return (
        shown.length === 4 && !shown.some((one) => initial.some(({ publicKey }) => one.verify(publicKey)))
      );
    };
    await come('every replica serves by the successor', served);
    for (const secret of AUTHORITIES) await age(secret, CA_ROTATION.life);
    await eachHas(1);
    const [last] = certificatesIn((await believed())[0]!);
    t.not(last!.fingerprint256, first[0]!.fingerprint256);
  });

  t.test('and meanwhile no request failed, no pod missed its sidecar, and policy held', async (t) => {
    await cluster.apply(pod('turn', 'late', IDLE, { labels: { role: 'client' } }));
    await installed.ready('turn', 'late');
    await t.resolves(
      installed.askUntil('turn', 'late', 'http://web/', /^from web-/),
      'a pod that came after',
    );
    await t.resolves(installed.askUntil('turn', 'stranger', 'http://web/', REFUSED));
    const after = await counted(installed, 'turn');
    await come('ten more requests', async () => (await counted(installed, 'turn')).good > after.good + 10);
    t.strictSame((await counted(installed, 'turn')).failures.slice(before.failures.length), []);
    const keys = Object.values(await dataOf(KEYS));
    t.ok(
      keys.length === 2 && keys.includes(firstKeys[0]!),
      'both keys are there as long as identities of the first live',
    );
  });
});

/** What every replica of authority and injector shows to who connects, and whose signature on it is good. */
async function servedCertificates(installed: InstalledCluster): Promise<X509Certificate[]> {
  interface Pods {
    readonly items: {
      readonly spec: { readonly containers: { readonly ports: { name: string; containerPort: number }[] }[] };
      readonly status: { readonly podIP: string };
    }[];
  }
  const { items } = await installed.json<Pods>(['-n', SYSTEM, 'get', 'pods']);
  const shown = items.map(async ({ spec, status }) => {
    const port = spec.containers[0]!.ports.find(({ name }) => name === 'https')!.containerPort;
    const connect = `openssl s_client -connect ${status.podIP}:${port} </dev/null 2>/dev/null`;
    return certificatesIn(await installed.cluster.onNode(['sh', '-c', connect]).catch(() => ''))[0];
  });
  return (await Promise.all(shown)).filter((one) => one !== undefined);
}

function certificatesIn(text: string): X509Certificate[] {
  return (text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (one) => new X509Certificate(one),
  );
}
