import { X509Certificate } from 'node:crypto';
import { AUTHORITY, INJECTOR, NAME } from '../install/options.ts';
import { isLeaving, sidecarOf } from './enrolled.ts';
import type { CheckSettings, ClusterFacts, WebhookFact } from './facts.ts';
import type { Finding } from './finding.ts';
import { imageTag, minorsBetween, versionNumber } from './version-number.ts';

const DAY_MS = 86_400_000;
const PEM = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Authority and injector are there, ready, and of a release that this program knows. */
export function checkControlPlane({ deployments }: ClusterFacts, settings: CheckSettings): Finding[] {
  if (deployments === undefined) return [];
  const check = 'control-plane';
  return [AUTHORITY, INJECTOR].flatMap((name): Finding[] => {
    const object = `deployment/${settings.namespace}/${name}`;
    const found = deployments.find(({ metadata }) => metadata.name === name);
    if (found === undefined)
      return [
        {
          level: 'error',
          check,
          object,
          text: 'it is not there',
          remedy: 'countersign install | kubectl apply -f -; another namespace: -n',
        },
      ];
    const { replicas = 1 } = found.spec ?? {};
    const { readyReplicas: ready = 0 } = found.status ?? {};
    const findings: Finding[] = [];
    if (ready < replicas)
      findings.push({
        level: ready === 0 ? 'error' : 'warning',
        check,
        object,
        text: `${ready} of ${replicas} replicas are ready`,
        remedy: `kubectl -n ${settings.namespace} describe pods -l app.kubernetes.io/name=${name}; kubectl -n ${settings.namespace} logs deploy/${name}`,
      });
    else findings.push({ level: 'ok', check, object, text: `${ready} of ${replicas} replicas are ready` });
    const image = found.spec?.template?.spec?.containers?.[0]?.image ?? '';
    const skew = skewOf(image, settings.release);
    if (skew !== undefined)
      findings.push({
        level: Math.abs(skew) > 1 ? 'warning' : 'note',
        check: 'version',
        object,
        text: `it runs ${image}; this program is ${settings.release}`,
        remedy:
          skew < 0
            ? 'countersign upgrade --check says in which order to upgrade'
            : 'use the program of that release',
      });
    return findings;
  });
}

/** Minor releases between the tag of an image and this program; undefined when they are the same, or cannot be compared. */
function skewOf(image: string, release: string): number | undefined {
  const tag = imageTag(image);
  if (tag === undefined || tag === release) return undefined;
  const [theirs, ours] = [versionNumber(tag), versionNumber(release)];
  return theirs === undefined || ours === undefined ? undefined : minorsBetween(theirs, ours);
}

/** The webhook configurations are there, and the API server is told to believe the injector by one and the same bundle that has not ended. */
export function checkWebhooks(
  { mutatingWebhooks, validatingWebhooks }: ClusterFacts,
  { now }: CheckSettings,
): Finding[] {
  const check = 'webhooks';
  const findings: Finding[] = [];
  const bundles = new Map<string, string>();
  for (const [kind, list] of [
    ['mutatingwebhookconfiguration', mutatingWebhooks],
    ['validatingwebhookconfiguration', validatingWebhooks],
  ] as const) {
    if (list === undefined) continue;
    const object = `${kind}/${NAME}`;
    const found = list.find(({ metadata }) => metadata.name === NAME);
    if (found === undefined) {
      findings.push({
        level: 'error',
        check,
        object,
        text: 'it is not there: no pod gets a sidecar, and nothing says so',
        remedy: 'countersign install | kubectl apply -f -',
      });
      continue;
    }
    findings.push(...webhookFindings(found, object, now));
    for (const { name, clientConfig } of found.webhooks ?? [])
      bundles.set(`${object} ${name}`, clientConfig?.caBundle ?? '');
  }
  if (new Set(bundles.values()).size > 1)
    findings.push({
      level: 'warning',
      check,
      object: 'cluster',
      text: 'webhooks believe different certificates: something besides the injector writes caBundle',
      remedy:
        'let Argo CD or Flux ignore caBundle (docs/install.md); the injector writes it again within a minute',
    });
  if (findings.length === 0 && bundles.size > 0)
    findings.push({
      level: 'ok',
      check,
      object: 'cluster',
      text: 'both configurations are there and believe one bundle',
    });
  return findings;
}

function webhookFindings({ webhooks = [] }: WebhookFact, object: string, now: number): Finding[] {
  const check = 'webhooks';
  const findings: Finding[] = [];
  for (const { name, failurePolicy, clientConfig } of webhooks) {
    if (failurePolicy === 'Ignore')
      findings.push({
        level: 'warning',
        check,
        object,
        text: `${name} has failurePolicy Ignore: with the injector away pods start without a sidecar`,
        remedy: 'apply the installation again',
      });
    const ends = endOf(Buffer.from(clientConfig?.caBundle ?? '', 'base64').toString());
    if (ends === undefined || ends < now)
      findings.push({
        level: 'error',
        check,
        object,
        text:
          ends === undefined
            ? `${name} has no caBundle with a certificate: the API server believes nobody there, and pods that ask for a sidecar cannot be made`
            : `${name}: every certificate of its caBundle has ended`,
        remedy: 'the injector writes it when it is ready: look at its log',
      });
    else if (ends - now < 7 * DAY_MS)
      findings.push({
        level: 'warning',
        check: 'certificates',
        object,
        text: `${name}: the last certificate of its caBundle ends ${new Date(ends).toISOString()}`,
        remedy: 'the injector renews it long before: look at its log',
      });
  }
  return findings;
}

/** When the last certificate of a bundle ends, milliseconds since the epoch; undefined: there is none that can be read. */
export function endOf(bundle: string): number | undefined {
  const ends = (bundle.slice(0, 1 << 20).match(PEM) ?? []).flatMap((pem) => {
    try {
      return [Date.parse(new X509Certificate(pem).validTo)];
    } catch {
      return [];
    }
  });
  return ends.length === 0 ? undefined : Math.max(...ends);
}

/** Every namespace with sidecars has the authority's certificates, the same as the authority published. */
export function checkCopies(facts: ClusterFacts, { namespace, caConfigMap, now }: CheckSettings): Finding[] {
  const { caConfigMaps, pods } = facts;
  if (caConfigMaps === undefined) return [];
  const check = 'certificates';
  const of = (place: string): string | undefined =>
    caConfigMaps.find(({ metadata }) => metadata.namespace === place)?.data?.['ca.pem'];
  const published = of(namespace);
  if (published === undefined)
    return [
      {
        level: 'error',
        check,
        object: `configmap/${namespace}/${caConfigMap}`,
        text: 'the authority has published no certificates: sidecars cannot believe it',
        remedy: `it writes them when it is ready: kubectl -n ${namespace} logs deploy/${AUTHORITY}`,
      },
    ];
  const findings: Finding[] = [];
  const ends = endOf(published);
  if (ends === undefined || ends - now < 7 * DAY_MS)
    findings.push({
      level: 'error',
      check,
      object: `configmap/${namespace}/${caConfigMap}`,
      text:
        ends === undefined
          ? 'it holds no certificate that can be read'
          : `its last certificate ends ${new Date(ends).toISOString()}`,
      remedy: 'the authority renews it long before: look at its log',
    });
  const places = new Set(
    (pods ?? [])
      .filter((pod) => sidecarOf(pod) !== undefined && !isLeaving(pod))
      .map((pod) => pod.metadata?.namespace ?? ''),
  );
  for (const place of [...places].toSorted()) {
    const copy = of(place);
    if (copy === published) continue;
    findings.push({
      level: copy === undefined ? 'error' : 'warning',
      check,
      object: `configmap/${place}/${caConfigMap}`,
      text:
        copy === undefined
          ? 'it is not there: sidecars of this namespace cannot believe the authority when they start'
          : 'it is not what the authority published',
      remedy: 'the authority and the injector write it within a minute: look at their logs',
    });
  }
  if (findings.length === 0)
    findings.push({
      level: 'ok',
      check,
      object: 'cluster',
      text: `the authority's certificates are in ${places.size} namespace${places.size === 1 ? '' : 's'} with sidecars, until ${new Date(ends!).toISOString().slice(0, 10)}`,
    });
  return findings;
}
