import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server } from 'node:tls';
import t, { type Test } from 'tap';
import { CA_ROTATION, SERVING } from '../../src/certificates/authority-state.ts';
import {
  issueServingCertificate,
  makeCertificateAuthority,
} from '../../src/certificates/certificate-authority.ts';
import { ServingCertificates } from '../../src/certificates/serving-certificates.ts';
import { StoredObject } from '../support/shared-objects.ts';

const NAME = 'countersign-authority.countersign-system.svc';
const START = Math.floor(Date.now() / 1000);

async function serve(t: Test, certificates: ServingCertificates): Promise<Server> {
  const { certificate: cert, key } = certificates.serving;
  const server = createServer({ cert, key, minVersion: 'TLSv1.3' }, (socket) => socket.end('hello'));
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return server;
}

/** What a client that trusts this bundle alone says of the server; empty when all is well. */
async function complaint(server: Server, bundle: string, servername = NAME): Promise<string> {
  const { port } = server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1', ca: bundle, servername });
  try {
    await once(socket, 'secureConnect');
    return '';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  } finally {
    socket.destroy();
  }
}

t.test(
  'certificates: a TLS client believes the serving certificate by the bundle, under the right name alone',
  async (t) => {
    const stored = new StoredObject();
    const certificates = new ServingCertificates({
      object: stored.handle(),
      names: [NAME, '127.0.0.1', '::1'],
    });
    t.teardown(() => certificates.close());
    await certificates.start();
    const server = await serve(t, certificates);
    t.equal(await complaint(server, certificates.bundle), '');
    t.equal(await complaint(server, certificates.bundle, 'other.svc'), 'ERR_TLS_CERT_ALTNAME_INVALID');
    const other = await makeCertificateAuthority('countersign', START);
    t.match(await complaint(server, other.certificate), /SELF_SIGNED|UNABLE_TO|SIGNATURE/);
    const parsed = new X509Certificate(certificates.serving.certificate);
    t.equal(parsed.ca, false);
    t.match(parsed.subjectAltName, /IP Address:127\.0\.0\.1.*IP Address:0:0:0:0:0:0:0:1/);
  },
);

t.test('certificates: a serving certificate cannot sign another one', async (t) => {
  const authority = await makeCertificateAuthority('countersign', START);
  const options = { names: [NAME], now: START, lifetime: 3_600 };
  const leaf = await issueServingCertificate(authority, options);
  const forged = await issueServingCertificate(leaf, options);
  const server = createServer({ cert: forged.certificate + leaf.certificate, key: forged.key });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  t.not(await complaint(server, authority.certificate), '');
});

t.test('certificates: replicas serve with keys of their own under one authority', async (t) => {
  const stored = new StoredObject();
  const make = () => new ServingCertificates({ object: stored.handle(), names: [NAME] });
  const [one, two] = [make(), make()];
  t.teardown(() => [one, two].forEach((each) => each.close()));
  await Promise.all([one.start(), two.start()]);
  t.equal(one.bundle, two.bundle);
  t.not(one.serving.key, two.serving.key);
  t.notMatch(JSON.stringify(stored.contents), one.serving.key.slice(40, 90), 'serving keys are not stored');
  t.equal(await complaint(await serve(t, two), one.bundle), '');
});

t.test(
  'certificates: through two rotations a client with the bundle of the day before believes the server every hour',
  async (t) => {
    const stored = new StoredObject();
    const clock = { now: START };
    const certificates = new ServingCertificates({
      object: stored.handle(),
      names: [NAME],
      now: () => clock.now,
    });
    t.teardown(() => certificates.close());
    await certificates.start();
    const bundles: string[] = [];
    const authorities = new Set<string>();
    const hours = (2 * (CA_ROTATION.period + CA_ROTATION.overlap)) / 3_600 + 24;
    let broken = 0;
    for (let hour = 0; hour <= hours; hour += 4) {
      clock.now = START + hour * 3_600;
      await certificates.look();
      bundles.push(certificates.bundle);
      const dayBefore = bundles.at(-7) ?? bundles[0]!;
      const leaf = new X509Certificate(certificates.serving.certificate);
      const believed = dayBefore
        .split(/(?<=-----END CERTIFICATE-----\n)/)
        .filter((text) => text !== '')
        .some((text) => {
          const issuer = new X509Certificate(text);
          return leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey);
        });
      const left = Date.parse(leaf.validTo) / 1000 - clock.now;
      if (!believed || left < SERVING.lifetime / 2) broken++;
      authorities.add(leaf.issuer);
    }
    t.equal(broken, 0);
    t.equal(authorities.size, 3, 'there were two rotations');
  },
);

t.test(
  'certificates: a Secret whose key does not belong to its certificate is refused and left alone',
  async (t) => {
    const [one, other] = [
      await makeCertificateAuthority('a', START),
      await makeCertificateAuthority('b', START),
    ];
    const stored = new StoredObject();
    stored.set({ [`ca-${START}.crt`]: one.certificate, [`ca-${START}.key`]: other.key });
    const certificates = new ServingCertificates({ object: stored.handle(), names: [NAME] });
    await t.rejects(certificates.start(), /is no certificate authority/);
    t.equal(stored.writes, 0);
  },
);
