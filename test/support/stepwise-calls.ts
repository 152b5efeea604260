import type { Cluster } from './sidecars.ts';
import { until } from './until.ts';

/** A server on many ports that says `hello;` to whoever comes, and then what it has heard up to a full stop. */
export const STEPWISE_SERVER = (ports: readonly number[]): string => `
const net = require('net'); let up = 0;
for (const port of ${JSON.stringify(ports)}) net.createServer((s) => {
  let got = '';
  s.on('error', () => {}).on('data', (d) => { got += d; if (got.endsWith('.')) s.end(got); });
  s.write('hello;');
}).listen({ port, host: '::', backlog: 512 }, () => { if (++up === ${ports.length}) console.log('up'); });`;

/** What has become of a call: it hears the server, its answer was right, or how it ended otherwise. */
export type CallState = 'calling' | 'greeted' | 'right' | (string & {});

/** Calls block as those of plain programs do: an error that the kernel only remembers (SO_ERROR) ends none of them. */
const CALLER = `
import errno, json, socket, sys, threading
lock, calls = threading.Lock(), {}
def tell(id, state):
    with lock: print(json.dumps({'id': id, 'state': state}), flush=True)
def call(id, host, port):
    heard = b''
    try:
        s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
        s.connect((host, port))
        calls[id] = s
        while True:
            part = s.recv(4096)
            if not part: break
            heard += part
            if heard == b'hello;': tell(id, 'greeted')
        right = heard == b'hello;call ' + id.encode() + b'.'
        tell(id, 'right' if right else 'wrong ' + repr(heard))
    except OSError as error: tell(id, errno.errorcode.get(error.errno, str(error)))
    s.close()
for line in sys.stdin:
    one = json.loads(line)
    if 'say' in one:
        try: calls[one['id']].sendall(('call ' + one['id'] + '.').encode())
        except OSError: pass
    else: threading.Thread(target=call, kwargs=one, daemon=True).start()`;

/** An application that makes calls and says something on them when it is told to. */
export class StepwiseCalls {
  readonly #states = new Map<string, CallState>();
  readonly #say: (line: object) => void;

  constructor(cluster: Cluster, from: string) {
    const child = cluster.network.start(from, ['python3', '-c', CALLER]);
    this.#say = (line) => void child.stdin!.write(`${JSON.stringify(line)}\n`);
    let rest = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const { id, state } = JSON.parse(line) as { id: string; state: CallState };
        this.#states.set(id, state);
      }
    });
  }

  /** Begins a call. */
  call(id: string, host: string, port: number): void {
    this.#states.set(id, 'calling');
    this.#say({ id, host, port });
  }

  /** Sends the question of a call that was greeted. */
  say(id: string): void {
    this.#say({ id, say: true });
  }

  state(id: string): CallState | undefined {
    return this.#states.get(id);
  }

  /** Waits until the server was heard, or the call has ended. */
  async begun(id: string): Promise<CallState> {
    await until(`${id} is greeted or ends`, () => this.state(id) !== 'calling', 60_000);
    return this.state(id)!;
  }

  /** Waits for the end of a call. */
  async ended(id: string): Promise<CallState> {
    await until(`${id} ends`, () => !['calling', 'greeted'].includes(this.state(id)!), 60_000);
    return this.state(id)!;
  }
}
