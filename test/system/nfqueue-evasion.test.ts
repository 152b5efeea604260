/** NFQUEUE mode against who wants to keep a connection that policy will forbid: made to look over, so that nobody judges it again. */
import { once } from 'node:events';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { RAW_PACKETS } from '../support/raw-packets.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(300_000);
const NFQUEUE = { mode: 'nfqueue' } as const;
const PORT = 9300;
const RESET = 4;

/** Answers with what it hears. */
const ECHO = `
import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', ${PORT})); s.listen(50); print('up', flush=True)
def serve(c):
    try:
        while True:
            got = c.recv(100)
            if not got: break
            c.sendall(got)
    except OSError: pass
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
`;

const CALL = (to: string): string =>
  `const s = require('net').connect(${PORT}, '${to}'); s.write('x'); s.on('data', (d) => { console.log(String(d)); s.end(); }).on('error', (e) => console.log(e.code));`;

/**
 * Calls, keeps the last ACK of the handshake back, and tells the server's conntrack by a RST that it is over: a server that answers with SYN cookies has
 * no socket yet. Goes on when it is told to: a line says what it hears.
 */
const EVADER = (from: string, to: string): string =>
  RAW_PACKETS(`
s = socket.socket(); s.bind(('', 0)); port = s.getsockname()[1]
rule = f'iptables -w -%s OUTPUT -p tcp --sport {port} --tcp-flags SYN,RST NONE -j DROP'
os.system(rule % 'I')
s.settimeout(60); s.connect(('${to}', ${PORT}))
# tcp(7), TCP_REPAIR: which number comes next; -1 ends it without a packet.
s.setsockopt(6, 19, 1); s.setsockopt(6, 20, 2); sequence = s.getsockopt(6, 21) & 0xffffffff; s.setsockopt(6, 19, -1)
print(port, flush=True); sys.stdin.readline()
send('${from}', '${to}', port, ${PORT}, sequence, 0, ${RESET})
print('reset', flush=True); sys.stdin.readline()
os.system(rule % 'D')
try:
    while True:
        s.sendall(b'still here'); got = s.recv(100)
        print('heard ' + got.decode() if got else 'over by a FIN', flush=True)
        if not got: break
        time.sleep(0.1)
except OSError as error: print('over', error.errno, flush=True)
`);

t.test('nfqueue mode and connections that look over', { skip, timeout: 280_000 }, async (t) => {
  const cluster = new Cluster(t);
  const { network } = cluster;
  const server = cluster.pod('server', { labels: { app: 'server' }, ...NFQUEUE });
  const approved = cluster.pod('approved', { labels: { drinks: 'beer' }, ...NFQUEUE });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'approved');
  network.sysctl('server', 'net.ipv4.tcp_syncookies', '2');
  const echo = network.start('server', ['python3', '-c', ECHO]);
  await once(echo.stdout!, 'data');
  const call = async (): Promise<string> =>
    (await cluster.node('approved', CALL(server.four), 60_000)).out.trim();
  /** What conntrack of the server says about a connection from this port. */
  const conntrack = async (port: number): Promise<string> =>
    (await network.run('server', ['cat', '/proc/net/nf_conntrack'])).out
      .split('\n')
      .filter((line) => line.includes(`src=${approved.four} dst=${server.four} sport=${port} dport=${PORT}`))
      .join();
  const evader = () => {
    let said = '';
    const child = network.start('approved', ['python3', '-c', EVADER(approved.four, server.four)]);
    child.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.stderr!.on('data', (chunk: Buffer) => t.comment(chunk.toString()));
    return {
      child,
      /** Whole lines alone. */
      lines: (): string[] => said.split('\n').slice(0, -1),
      go: () => child.stdin!.write('\n'),
    };
  };
  /** The client's sidecar anew: it has forgotten whom it calls by the stream carrier. */
  const restarted = async (): Promise<void> => {
    await cluster.kill('approved');
    cluster.launch('approved');
    await cluster.ready('approved');
  };
  /** What the evader hears at last; undefined: on a machine at work his call went otherwise, by the stream carrier for instance. */
  const attempt = async (): Promise<string | undefined> => {
    if ((await call()) !== 'x' || (await call()) !== 'x') return undefined;
    const { child, lines, go } = evader();
    const says = async (count: number): Promise<boolean> => {
      await until(
        'it says more, or has given up',
        () => lines().length >= count || child.exitCode !== null,
        90_000,
      );
      return lines().length >= count;
    };
    try {
      if (!(await says(1))) return undefined;
      const port = Number(lines()[0]);
      if (!(await conntrack(port)).includes('SYN_RECV')) return undefined;
      go();
      if (!(await says(2))) return undefined;
      await until('the server takes it for over', () =>
        cluster.flows('server').some(({ source }) => source.port === port),
      );
      go();
      return (await says(3)) ? lines()[2] : undefined;
    } finally {
      child.kill('SIGKILL');
    }
  };

  t.test(
    'who sends a RST before his last ACK has no connection afterwards that policy does not know',
    async (t) => {
      let heard: string | undefined;
      for (let tries = 0; heard === undefined && tries < 10; tries++) {
        if (tries > 0) await restarted();
        heard = await attempt();
      }
      t.match(heard, /^over/, 'its ACK and its bytes came to nobody');
      await until('others are served', async () => (await call()) === 'x');
    },
  );
});
