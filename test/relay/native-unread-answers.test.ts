/** Clients that ask and do not read, so many of them: what the relay has read for them and cannot write. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';

const CONNECTIONS = 500;
const ANSWER_BYTES = 400_000;
/** MOST_RESTS of native/relay.c. Beyond it each has some 2 KB, and its connection. */
const MOST_BYTES = (8 << 20) + CONNECTIONS * 5_000;
/** Two sockets of each connection, and no room for pipes, of which there are few in any case. */
const DESCRIPTORS = 2 * CONNECTIONS + 100;

t.setTimeout(300_000);

t.test(
  'native data path: clients that do not read fill a bounded part of the memory, and get all when they do',
  { skip: cannotNetns() },
  async (t) => {
    const script = [
      `ulimit -n ${DESCRIPTORS}`,
      'ip link set lo up mtu 1500',
      // The less room there is in sockets, the more is held by the relay.
      'echo 4096 16384 16384 > /proc/sys/net/ipv4/tcp_wmem',
      'echo 4096 131072 131072 > /proc/sys/net/ipv4/tcp_rmem',
      'exec "$@"',
    ].join(' && ');
    const inside = join(import.meta.dirname, 'unread-answers.inside.ts');
    const command = [process.execPath, inside, String(CONNECTIONS), String(ANSWER_BYTES)];
    const { stdout } = await promisify(execFile)('unshare', ['--net', 'sh', '-c', script, 'sh', ...command]);
    const { held, whole } = JSON.parse(stdout) as { held: number; whole: number };
    t.equal(whole, CONNECTIONS);
    t.ok(held < MOST_BYTES, `${(held / (1 << 20)).toFixed(1)} MiB`);
  },
);
