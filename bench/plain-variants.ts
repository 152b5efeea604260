import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { PROXY_UID } from '../test/support/sidecars.ts';
import { makeCertificates } from './certificates.ts';
import { compile } from './load-program.ts';
import type { Place } from './place.ts';
import {
  type Certificates,
  type End,
  haproxySettings,
  type Hop,
  nginxSettings,
  pipeProgram,
} from './proxy-settings.ts';
import type { Variant } from './variant.ts';

const CLIENT = 'plain-client';
const SERVER = 'plain-server';
const APPLICATION_PORT = 9000;

const NO_CERTIFICATE = { certificate: '', key: '', both: '' };
const NO_CERTIFICATES: Certificates = { ca: '', server: NO_CERTIFICATE, client: NO_CERTIFICATE };

interface Kind {
  readonly id: string;
  readonly title: string;
  readonly command: (hop: Hop, end: End) => string[];
}

/**
 * `direct` and the proxies without Countersign, all between the same two hosts: each proxy has a port, whose connections are redirected to its
 * first hop on the way out and to its second on the way in, as a mesh does it. What cannot be started is left out by `onProblem`.
 */
export async function plainVariants(
  place: Place,
  wanted: (id: string) => boolean,
  onProblem: (variant: string, error: unknown) => void,
): Promise<Variant[]> {
  const { cluster } = place;
  const { network } = cluster;
  const server = cluster.pod(SERVER, { sidecar: false }).four;
  cluster.pod(CLIENT, { sidecar: false });
  for (const host of [CLIENT, SERVER]) {
    place.quieten(host);
    // Connection tracking and nat, as kube-proxy or a CNI brings them anywhere, whichever variants are measured: a target that translates has the kernel track.
    await nat(place, host, ['OUTPUT', '-p', 'tcp', '--dport', '1', '-j', 'REDIRECT', '--to-ports', '1']);
  }
  const application = [await place.serve(SERVER, APPLICATION_PORT)];
  const overTls = ['haproxy-mtls-full', 'haproxy-mtls', 'nginx-mtls'].some(wanted);
  const certificates = overTls ? makeCertificates(place.folder) : NO_CERTIFICATES;
  const node = join(cluster.program, '.setup/node');
  const settings = (name: string, hop: Hop, text: string): string => {
    const file = join(place.folder, `${name}-${hop.listen.port}.cfg`);
    writeFileSync(file, text);
    return file;
  };
  const haproxy = (id: string, title: string, tls: 'none' | 'resumed' | 'full'): Kind => ({
    id,
    title,
    command: (hop, end) => [
      'haproxy',
      '-db',

      '-f',
      settings(id, hop, haproxySettings(hop, end, tls, certificates)),
    ],
  });
  const nginx = (id: string, title: string, tls: 'none' | 'resumed'): Kind => ({
    id,
    title,
    command: (hop, end) => {
      const file = settings(id, hop, nginxSettings(hop, end, tls, certificates, place.writable));
      return ['nginx', '-e', 'stderr', '-p', place.writable, '-c', file];
    },
  });
  let bareRelay: string | undefined;
  const kinds: Kind[] = [
    haproxy('haproxy', 'HAProxy TCP, splice-auto, no identity', 'none'),
    nginx('nginx', 'nginx stream, no identity', 'none'),
    {
      id: 'bare',
      title: 'bare splice relay, no identity',
      command: ({ listen, call }) => [
        (bareRelay ??= compile('bare-relay', place.folder)),
        ...[listen.address, String(listen.port), call.address, String(call.port)],
      ],
    },
    {
      id: 'pipe',
      title: 'Node.js socket.pipe, no identity',
      command: (hop) => [node, '-e', pipeProgram(hop)],
    },
    haproxy('haproxy-mtls-full', 'HAProxy mTLS, full', 'full'),
    haproxy('haproxy-mtls', 'HAProxy mTLS, resumed', 'resumed'),
    nginx('nginx-mtls', 'nginx stream mTLS, resumed', 'resumed'),
  ];

  const shared = { client: CLIENT, servers: [SERVER], application, proves: false };
  const direct: Variant = {
    ...shared,
    id: 'direct',
    title: 'direct',
    target: { address: server, port: APPLICATION_PORT },
    proxies: [],
  };
  const variants = wanted(direct.id) ? [direct] : [];
  for (const [index, kind] of kinds.entries()) {
    if (!wanted(kind.id)) continue;
    const port = 9101 + index;
    const hops = {
      client: { listen: { address: '127.0.0.1', port: 15_101 + index }, call: { address: server, port } },
      server: {
        listen: { address: server, port: 15_201 + index },
        call: { address: '127.0.0.1', port: APPLICATION_PORT },
      },
    };
    try {
      const proxies: number[] = [];
      for (const [end, host] of [
        ['client', CLIENT],
        ['server', SERVER],
      ] as const) {
        const child = network.start(host, kind.command(hops[end], end), PROXY_UID);
        let complaint = '';
        child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
        child.stdout!.resume();
        const { address, port } = hops[end].listen;
        await Promise.race([
          place.listening(host, address, port),
          once(child, 'close').then(() => {
            throw new Error(`it ended at once: ${complaint.trim()}`);
          }),
        ]);
        proxies.push(child.pid!);
      }
      await redirect(
        place,
        CLIENT,
        ['OUTPUT', '-d', server, '-m', 'owner', '!', '--uid-owner', String(PROXY_UID)],
        port,
        hops.client,
      );
      await redirect(place, SERVER, ['PREROUTING'], port, hops.server);
      variants.push({
        ...shared,
        id: kind.id,
        title: kind.title,
        target: { address: server, port },
        proxies,
      });
    } catch (error) {
      onProblem(kind.id, error);
    }
  }
  return variants;
}

async function redirect(
  place: Place,
  host: string,
  [chain, ...matches]: string[],
  port: number,
  { listen }: Hop,
): Promise<void> {
  const to = ['-j', 'REDIRECT', '--to-ports', String(listen.port)];
  await nat(place, host, [chain!, '-p', 'tcp', '--dport', String(port), ...matches, ...to]);
}

async function nat({ cluster }: Place, host: string, rule: readonly string[]): Promise<void> {
  const command = ['iptables', '-w', '-t', 'nat', '-A', ...rule];
  const { status, complaint } = await cluster.network.run(host, command);
  if (status !== 0) throw new Error(`iptables in ${host}: ${complaint.trim()}`);
}
