/** NFQUEUE mode against who wants to keep a connection that policy will forbid: made to look over, so that nobody judges it again. */
import { once } from 'node:events';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { RAW_PACKETS } from '../support/raw-packets.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const NFQUEUE = { mode: 'nfqueue' } as const;
const PORT = 9300;
const FLAG = { reset: 4, push: 8, ack: 16 } as const;
/** A program for Python of who calls, from its own address. */
type Evasion = (from: string, to: string) => string;

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

/** Calls, and learns its numbers: the next one of its own (tcp(7), TCP_REPAIR; -1 ends it without a packet), and the server's. */
const CALLING = (to: string): string => `
s.settimeout(60); s.connect(('${to}', ${PORT}))
s.setsockopt(6, 19, 1)
s.setsockopt(6, 20, 2); sequence = s.getsockopt(6, 21) & 0xffffffff
s.setsockopt(6, 20, 1); heard = s.getsockopt(6, 21) & 0xffffffff
s.setsockopt(6, 19, -1)
`;

/**
 * Calls, keeps the last ACK of the handshake back, and tells the server's conntrack by a RST that it is over: a server that answers with SYN cookies has
 * no socket yet. Goes on when it is told to: a line says what it hears.
 */
const LATE_ACK: Evasion = (from, to) =>
  RAW_PACKETS(`
s = socket.socket(); s.bind(('', 0)); port = s.getsockname()[1]
rule = f'iptables -w -%s OUTPUT -p tcp --sport {port} --tcp-flags SYN,RST NONE -j DROP'
os.system(rule % 'I')
${CALLING(to)}
print(port, flush=True); sys.stdin.readline()
send('${from}', '${to}', port, ${PORT}, sequence, 0, ${FLAG.reset})
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

/**
 * Calls and hangs up as anybody does, and says the last ACK of the handshake again: a server that answered with SYN cookies keeps nothing that tells it
 * from the first one, and makes a second socket of it.
 */
const SAID_AGAIN: Evasion = (from, to) =>
  RAW_PACKETS(`
s = socket.socket(); s.bind(('', 0)); port = s.getsockname()[1]
${CALLING(to)}
print(port, flush=True); sys.stdin.readline()
s.shutdown(socket.SHUT_WR); s.recv(1); s.close()
print('hung up', flush=True); sys.stdin.readline()
ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP); ear.settimeout(0.5)
def answer():
    send('${from}', '${to}', port, ${PORT}, sequence, heard, ${FLAG.push | FLAG.ack}, b'', b'still here')
    until = time.time() + 0.5
    try:
        while time.time() < until:
            packet = ear.recv(2000)
            head = (packet[0] & 15) * 4
            if struct.unpack('!HH', packet[head:head + 4]) != (${PORT}, port): continue
            if packet[head + 13] & ${FLAG.reset}: return 'over by a RST'
            data = packet[head + (packet[head + 12] >> 4) * 4:]
            if b'still here' in data: return 'heard ' + data.decode()
    except OSError: pass
said = None
for _ in range(20):
    said = said or answer()
print(said or 'over', flush=True)
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
  const evader = (evasion: Evasion) => {
    let said = '';
    const child = network.start('approved', ['python3', '-c', evasion(approved.four, server.four)]);
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
  const attempt = async (evasion: Evasion, began: string): Promise<string | undefined> => {
    if ((await call()) !== 'x' || (await call()) !== 'x') return undefined;
    const { child, lines, go } = evader(evasion);
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
      if (!(await conntrack(port)).includes(began)) return undefined;
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

  /** What is heard at last, of several attempts. */
  const attempts = async (evasion: Evasion, began: string): Promise<string | undefined> => {
    let heard: string | undefined;
    for (let tries = 0; heard === undefined && tries < 10; tries++) {
      if (tries > 0) await restarted();
      heard = await attempt(evasion, began);
    }
    return heard;
  };

  t.test(
    'who sends a RST before his last ACK has no connection afterwards that policy does not know',
    async (t) => {
      t.match(await attempts(LATE_ACK, 'SYN_RECV'), /^over/, 'its ACK and its bytes came to nobody');
      await until('others are served', async () => (await call()) === 'x');
    },
  );

  t.test(
    'who says his last ACK again after he has hung up has no connection that policy does not know',
    async (t) => {
      t.match(await attempts(SAID_AGAIN, 'ESTABLISHED'), /^over/, 'its ACK and its bytes came to nobody');
      await until('others are served', async () => (await call()) === 'x');
    },
  );
});
