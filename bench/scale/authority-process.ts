/** The authority of `bench/authority-scale.ts` in a process of its own: the real one, on the API server that it is told of. */
import { Authority } from '../../src/authority/authority.ts';
import { messageOf } from '../../src/errors.ts';
import { ApiClient } from '../../src/kube/api-client.ts';
import { fixedToken } from '../../src/kube/credential.ts';
import { formatEndpoint } from '../../src/lib/address.ts';
import { type FromAuthority, processUse, type ToAuthority } from './messages.ts';
import { AUDIENCE, CA_CONFIG_MAP, SYSTEM } from './population.ts';

const say = (message: FromAuthority): void => void process.send?.(message);
process.on('disconnect', () => process.exit(0));
process.on('message', (message: ToAuthority) => {
  if (message.kind === 'measure') return say({ kind: 'measured', use: processUse() });
  serve(message).catch((error: unknown) => say({ kind: 'failed', why: messageOf(error) }));
});
say({ kind: 'up' });

async function serve({ server, token }: ToAuthority & { kind: 'start' }): Promise<void> {
  const complain = (fields: object, message: string): void =>
    void process.stderr.write(`authority: ${message} ${JSON.stringify(fields)}\n`);
  const authority = new Authority({
    client: new ApiClient({ ...server, credential: fixedToken(token) }),
    namespace: SYSTEM,
    trustDomain: 'cluster.local',
    names: ['localhost', '127.0.0.1'],
    listen: { address: '127.0.0.1', port: 0 },
    sidecar: { container: 'countersign-proxy', image: '' },
    audience: AUDIENCE,
    caConfigMap: CA_CONFIG_MAP,
    ttl: 14_400,
    renewAfter: 1_200,
    release: 'bench',
    log: { info: () => {}, warn: complain, error: complain },
  });
  await authority.start();
  const endpoint = authority.endpoint!;
  const url = `https://${formatEndpoint(endpoint)}`;
  say({ kind: 'serving', url, port: endpoint.port, authorities: authority.authorities });
}
