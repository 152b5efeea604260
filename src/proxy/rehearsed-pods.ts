import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { encodeClaims, TOKEN_TYPE } from '../identity/claims.ts';
import { toCompact } from '../identity/compact.ts';
import { IdentityKeeper } from '../identity/identity-keeper.ts';
import { IdentityState } from '../identity/identity-state.ts';
import { generateOwnKey, type OwnKey } from '../identity/keys.ts';
import { TrustInForce } from '../identity/trust-in-force.ts';
import type { TrustBundle } from '../identity/trust.ts';
import type { Curves } from '../lib/curves.ts';
import { signEs256 } from '../lib/es256.ts';
import type { Pod } from '../peers/directory.ts';
import { buildDirectory, type DirectoryContents } from '../peers/table.ts';
import type { LabelSelector, NetworkPolicy, PolicyRule } from '../policy/model.ts';
import type { Snapshot, Source } from '../sources/source.ts';

const NAMESPACE = 'rehearsal';
const KEY_ID = 'rehearsal';
const LIFETIME_SECONDS = 600;
const [NODE, POD_CIDR] = ['rehearsal', '192.0.2.0/24'];
const SERVICE = { address: '198.51.100.1', port: 80 };
const TARGET_PORT = 8080;
const NAMES = ['client', 'server'] as const;
const NAMESPACE_LABELS = { 'kubernetes.io/metadata.name': NAMESPACE };

/** The server's address, and that of a Service in front of it: addresses for documentation (RFC 5737). */
export const DESTINATIONS = [{ address: '192.0.2.2', port: TARGET_PORT }, SERVICE] as const;

/** A pod of a rehearsal as its sidecar sees the world. */
export interface RehearsedPod {
  readonly address: string;
  readonly source: Source;
  readonly identity: IdentityKeeper;
  /** Gives it trust that has verified nothing yet. */
  readonly forget: () => void;
}

/** Two pods of a trust domain that exists for this call alone: keys, tokens, policy that denies by default and allows the call of one by the other. */
export function rehearsedPods(
  curves: Curves,
  nfqueue: boolean,
): readonly [client: RehearsedPod, server: RehearsedPod] {
  const issuer = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const bundle: TrustBundle = {
    trustDomain: 'rehearsal.invalid',
    algorithm: 'ES256',
    keys: new Map([[KEY_ID, issuer.publicKey]]),
  };
  const tokenOf = ({ name, uid, labels }: Pod, key: OwnKey): Uint8Array => {
    const issuedAt = Math.floor(Date.now() / 1000);
    const payload = encodeClaims({
      trustDomain: bundle.trustDomain,
      namespace: NAMESPACE,
      serviceAccount: 'default',
      podName: name,
      podUid: uid,
      labels,
      namespaceLabels: NAMESPACE_LABELS,
      issuedAt,
      notBefore: issuedAt,
      expiresAt: issuedAt + LIFETIME_SECONDS,
      tokenId: randomUUID(),
      key: key.publicKey,
    });
    const header = { alg: bundle.algorithm, typ: TOKEN_TYPE, kid: KEY_ID };
    const signed = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
    const signature = signEs256(issuer.privateKey, Buffer.from(signed.join('.')));
    return toCompact([...signed, Buffer.from(signature).toString('base64url')].join('.'));
  };
  const pods = NAMES.map((name, index) => podOf(name, `192.0.2.${index + 1}`, nfqueue));
  const directory = buildDirectory(contentsOf(pods));
  const [client, server] = pods.map((pod): RehearsedPod => {
    const key = generateOwnKey();
    const token = tokenOf(pod, key);
    const identity = new IdentityKeeper(curves);
    const forget = (): void => {
      const trust = new TrustInForce(bundle, undefined, curves);
      identity.replace(() => new IdentityState(token, key, trust, Date.now() / 1000, curves), trust);
    };
    forget();
    const snapshot: Snapshot = {
      version: 1,
      takenAt: Date.now(),
      self: pod,
      selfNamespaceLabels: NAMESPACE_LABELS,
      mode: 'enforce',
      policies: POLICIES,
      clusterPolicies: [],
      directory,
    };
    return { address: pod.addresses[0]!, source: unchanging(snapshot), identity, forget };
  });
  return [client!, server!];
}

function podOf(name: string, address: string, nfqueue: boolean): Pod {
  return {
    namespace: NAMESPACE,
    name,
    uid: randomUUID(),
    serviceAccount: 'default',
    labels: { app: name, 'app.kubernetes.io/name': name },
    addresses: [address],
    nodeName: NODE,
    ports: [{ name: 'http', port: TARGET_PORT, protocol: 'TCP' }],
    probePorts: [],
    enrolled: true,
    nfqueue,
    hostNetwork: false,
  };
}

function contentsOf(pods: readonly Pod[]): DirectoryContents {
  const [target] = DESTINATIONS;
  const endpoint = { ready: true, serving: true, terminating: false, nodeName: NODE };
  const port = { name: 'http', protocol: 'TCP' };
  return {
    namespaces: [{ name: NAMESPACE, labels: NAMESPACE_LABELS }],
    pods: pods.map((pod) => ({ pod, finished: false, terminating: false })),
    nodes: [{ name: NODE, addresses: [], podCidrs: [POD_CIDR] }],
    services: [
      {
        namespace: NAMESPACE,
        name: 'server',
        addresses: [SERVICE.address],
        ports: [{ ...port, port: SERVICE.port }],
        clientIpAffinity: false,
        localTraffic: false,
      },
    ],
    slices: [
      {
        namespace: NAMESPACE,
        service: 'server',
        ports: [{ ...port, port: TARGET_PORT }],
        endpoints: [{ addresses: [target.address], ...endpoint }],
      },
    ],
  };
}

const app = (name: string): LabelSelector => ({ matchLabels: { app: name }, matchExpressions: [] });
const ruleFor = (name: string): PolicyRule => ({
  peers: [{ kind: 'pods', podSelector: app(name), namespaceSelector: undefined }],
  ports: [{ protocol: 'TCP', port: TARGET_PORT, endPort: undefined }],
});
const policy = (rest: Omit<NetworkPolicy, 'namespace'>): NetworkPolicy => ({ namespace: NAMESPACE, ...rest });
const POLICIES: readonly NetworkPolicy[] = [
  policy({
    name: 'default-deny',
    podSelector: { matchLabels: {}, matchExpressions: [] },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [],
    egress: [],
  }),
  policy({
    name: 'client-calls-server',
    podSelector: app('client'),
    policyTypes: ['Egress'],
    ingress: [],
    egress: [ruleFor('server')],
  }),
  policy({
    name: 'server-takes-client',
    podSelector: app('server'),
    policyTypes: ['Ingress'],
    ingress: [ruleFor('client')],
    egress: [],
  }),
];

function unchanging(snapshot: Snapshot): Source {
  return {
    snapshot,
    problems: [],
    start: () => Promise.resolve(),
    subscribe: () => () => {},
    close: () => Promise.resolve(),
  };
}
