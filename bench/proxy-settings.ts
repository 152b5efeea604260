/** The two hops of a proxy that is compared with: where each listens and whom it calls. */
export interface Hops {
  readonly client: Hop;
  readonly server: Hop;
}

export interface Hop {
  readonly listen: { readonly address: string; readonly port: number };
  readonly call: { readonly address: string; readonly port: number };
}

/** Files of a small certificate authority, all P-256. `server` and `client` hold certificate and key. */
export interface Certificates {
  readonly ca: string;
  readonly server: { readonly certificate: string; readonly key: string; readonly both: string };
  readonly client: { readonly certificate: string; readonly key: string; readonly both: string };
}

/** `resumed`: sessions and tickets as the program has them by default; `full`: both turned off. */
export type Tls = 'none' | 'resumed' | 'full';

export type End = keyof Hops;

const MAX_CONNECTIONS = 4_000;

/** One thread, TCP, splice where HAProxy sees fit; mutual TLS 1.3 between the two hops where asked. */
export function haproxySettings(
  { listen, call }: Hop,
  end: End,
  tls: Tls,
  certificates: Certificates,
): string {
  const { ca, server, client } = certificates;
  const bindTls =
    tls !== 'none' && end === 'server'
      ? ` ssl crt ${server.both} ca-file ${ca} verify required ssl-min-ver TLSv1.3${tls === 'full' ? ' no-tls-tickets' : ''}`
      : '';
  const callTls =
    tls !== 'none' && end === 'client'
      ? ` ssl crt ${client.both} ca-file ${ca} verify required verifyhost server ssl-min-ver TLSv1.3${tls === 'full' ? ' no-ssl-reuse no-tls-tickets' : ''}`
      : '';
  return `global
  nbthread 1
  maxconn ${MAX_CONNECTIONS}
${tls === 'full' ? '  tune.ssl.cachesize 0\n' : ''}defaults
  mode tcp
  option splice-auto
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen hop
  bind ${listen.address}:${listen.port}${bindTls}
  server next ${call.address}:${call.port}${callTls}
`;
}

/** One process, stream module; mutual TLS 1.3 with resumption between the two hops where asked. */
export function nginxSettings(
  { listen, call }: Hop,
  end: End,
  tls: Exclude<Tls, 'full'>,
  { ca, server, client }: Certificates,
  folder: string,
): string {
  const accepts =
    tls === 'resumed' && end === 'server'
      ? `ssl_protocols TLSv1.3; ssl_certificate ${server.certificate}; ssl_certificate_key ${server.key};
    ssl_verify_client on; ssl_client_certificate ${ca}; ssl_session_cache shared:hops:4m;`
      : '';
  const calls =
    tls === 'resumed' && end === 'client'
      ? `proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate ${client.certificate}; proxy_ssl_certificate_key ${client.key};
    proxy_ssl_verify on; proxy_ssl_trusted_certificate ${ca}; proxy_ssl_name server;`
      : '';
  return `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
# With a master the worker would get another group, and its own calls would be redirected to itself.
master_process off;
pid ${folder}/nginx-${end}-${listen.port}.pid;
error_log stderr error;
events { worker_connections ${2 * MAX_CONNECTIONS}; }
stream {
  server {
    listen ${listen.address}:${listen.port}${accepts === '' ? '' : ' ssl'};
    proxy_pass ${call.address}:${call.port};
    proxy_timeout 1h;
    ${accepts}${calls}
  }
}
`;
}

/** A Node.js program that pipes sockets both ways, the plainest thing that one would write. */
export function pipeProgram({ listen, call }: Hop): string {
  return `
const net = require('net');
net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const upstream = net.connect({ port: ${call.port}, host: '${call.address}', allowHalfOpen: true, noDelay: true });
  for (const [socket, other] of [[client, upstream], [upstream, client]]) {
    socket.pipe(other);
    socket.on('error', () => other.destroy());
  }
}).listen({ port: ${listen.port}, host: '${listen.address}', backlog: 4096 });`;
}
