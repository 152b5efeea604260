import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { AuthorityLink } from '../../src/authority-client/authority-link.ts';
import { Authority, type AuthorityLog } from '../../src/authority/authority.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { formatEndpoint } from '../../src/lib/address.ts';

export const DOMAIN = 'cluster.local';
export const AUDIENCE = 'countersign-authority';

export interface Told {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: object;
}

/** Authorities and sidecars' links on an API server, in this process. */
export class Installation {
  readonly folder = mkdtempSync(join(tmpdir(), 'countersign-authority-'));
  readonly told: Told[] = [];
  readonly #t: Pick<Test, 'teardown'>;
  readonly #client: ApiClient;
  #files = 0;

  constructor(t: Pick<Test, 'teardown'>, client: ApiClient) {
    this.#t = t;
    this.#client = client;
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  get caFile(): string {
    return join(this.folder, 'ca.crt');
  }

  /** Starts a replica. @param port of one that is to come back */
  async authority(
    options: {
      port?: number;
      now?: () => number;
      ttl?: number;
      renewAfter?: number;
      domain?: string;
      namespace?: string;
      federationFile?: string;
    } = {},
  ): Promise<Authority> {
    const note =
      (level: Told['level']) =>
      (fields: object, message: string): void =>
        void this.told.push({ level, fields, message });
    const log: AuthorityLog = { info: note('info'), warn: note('warn'), error: note('error') };
    const authority = new Authority({
      client: this.#client,
      namespace: options.namespace ?? 'countersign-system',
      trustDomain: options.domain ?? DOMAIN,
      names: ['localhost', '127.0.0.1'],
      listen: { address: '127.0.0.1', port: options.port ?? 0 },
      sidecar: { container: 'countersign-proxy', image: '' },
      audience: AUDIENCE,
      caConfigMap: 'countersign-ca',
      federationFile: options.federationFile,
      ttl: options.ttl ?? 14_400,
      renewAfter: options.renewAfter ?? 1_200,
      release: 'test',
      log,
      ...(options.now === undefined ? {} : { now: options.now }),
    });
    this.#t.teardown(() => authority.close());
    await authority.start();
    writeFileSync(this.caFile, authority.authorities);
    return authority;
  }

  /** A projected token, as kubelet would write it. */
  async tokenFile(
    pod: string,
    { audience = AUDIENCE, namespace = 'shop', serviceAccount = 'default' } = {},
  ): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`;
    const answer = (await this.#client.create(path, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        audiences: [audience],
        expirationSeconds: 3600,
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod },
      },
    })) as { status: { token: string } };
    const file = join(this.folder, `token-${this.#files++}`);
    writeFileSync(file, answer.status.token);
    return file;
  }

  /** The link of a sidecar; not started. */
  link(
    authorities: readonly Authority[],
    tokenFile: string,
    random: () => number = () => 0,
    pod = 'shop/web',
    keyFile?: string,
  ): AuthorityLink {
    const link = new AuthorityLink({
      urls: authorities.map((one) => `https://${formatEndpoint(one.endpoint!)}`),
      caFile: this.caFile,
      tokenFile,
      keyFile,
      pod,
      mode: 'enforce',
      release: 'test',
      random,
    });
    this.#t.teardown(() => link.source.close());
    return link;
  }

  async startedLink(
    authorities: readonly Authority[],
    pod: string,
    keyFile?: string,
  ): Promise<AuthorityLink> {
    const link = this.link(authorities, await this.tokenFile(pod), undefined, `shop/${pod}`, keyFile);
    await link.source.start();
    return link;
  }
}
