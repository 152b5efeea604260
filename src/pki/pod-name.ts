import { fromBER, Primitive, Sequence } from 'asn1js';
import { isTrustDomain } from '../identity/claims.ts';
import { dnsLabelFault, dnsSubdomainFault } from '../policy/syntax.ts';
import type { Certificate } from './certificate.ts';

/** Which pod a certificate is of. */
export interface PodName {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly podName: string;
  readonly podUid: string;
}

/**
 * Who a certificate says its holder is: a SPIFFE ID as its only URI, `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, and the pod, in the PodIdentity extension of
 * KEP-4317 or as `/pod/NAME/UID` behind the account. Where both are there they have to agree.
 * @returns the name, or a text that says what is wrong
 */
export function podNameOf({ uris, podIdentity }: Certificate): PodName | string {
  const [uri = ''] = uris;
  if (uris.length !== 1) return `it has ${uris.length} URIs as names, and one SPIFFE ID is wanted`;
  const [, trustDomain = '', namespace = '', serviceAccount = '', podName, podUid] =
    SPIFFE_ID.exec(uri) ?? [];
  if (trustDomain === '')
    return 'its URI is no spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT, with /pod/NAME/UID behind it or not';
  const fault = isTrustDomain(trustDomain)
    ? (dnsLabelFault(namespace) ?? dnsSubdomainFault(serviceAccount))
    : 'has a trust domain that is none';
  if (fault !== undefined) return `its SPIFFE ID ${fault}`;
  const inPath = podName === undefined || podUid === undefined ? undefined : { podName, podUid };
  let inExtension: { podName: string; podUid: string } | undefined;
  if (podIdentity !== undefined) {
    const fields = podIdentityFields(podIdentity);
    if (fields === undefined) return 'its PodIdentity extension is none';
    if (fields[NAMESPACE] !== namespace || fields[SERVICE_ACCOUNT] !== serviceAccount) {
      return 'its PodIdentity names another service account than its SPIFFE ID';
    }
    inExtension = { podName: fields[POD_NAME]!, podUid: fields[POD_UID]! };
  }
  const pod = inExtension ?? inPath;
  if (pod === undefined) return 'it names no pod: a service account alone says nothing about labels';
  if (inPath !== undefined && (inPath.podName !== pod.podName || inPath.podUid !== pod.podUid)) {
    return 'its PodIdentity names another pod than its SPIFFE ID';
  }
  if (dnsSubdomainFault(pod.podName) !== undefined || !UID.test(pod.podUid))
    return 'it names no pod that could be one';
  return { trustDomain, namespace, serviceAccount, ...pod };
}

const SPIFFE_ID = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)(?:\/pod\/([^/]+)\/([^/]+))?$/;
const UID = /^[A-Za-z0-9._-]{1,64}$/;

/** Places in the extension (KEP-4317, "X.509 PodIdentity Extension"). */
const [NAMESPACE, SERVICE_ACCOUNT, POD_NAME, POD_UID, FIELDS] = [0, 2, 4, 5, 8];

/**
 * The texts of `PodIdentity ::= SEQUENCE { namespace [0], namespaceUID [1], serviceAccountName [2], serviceAccountUID [3], podName [4], podUID [5],
 * nodeName [6], nodeUID [7] }`, all UTF8String IMPLICIT; undefined for anything else.
 */
function podIdentityFields(der: Uint8Array): string[] | undefined {
  const { result, offset } = fromBER(der);
  if (offset !== der.length || !(result instanceof Sequence)) return undefined;
  const { value } = result.valueBlock;
  if (value.length !== FIELDS) return undefined;
  const fields: string[] = [];
  for (const [index, field] of value.entries()) {
    const { tagClass, tagNumber } = field.idBlock;
    if (!(field instanceof Primitive) || tagClass !== CONTEXT || tagNumber !== index) return undefined;
    try {
      fields.push(UTF8.decode(field.valueBlock.valueHexView));
    } catch {
      return undefined; // no UTF-8
    }
  }
  return fields;
}

const CONTEXT = 3;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
