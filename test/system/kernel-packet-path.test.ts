import { join } from 'node:path';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';

// The addon opens its sockets in the network namespace of its process: the tests are a process of their own in one.
const inside = join(import.meta.dirname, 'kernel-packet-path.inside.ts');
t.setTimeout(600_000);
t.spawn(
  'unshare',
  ['--net', process.execPath, inside],
  { skip: cannotNetns(), timeout: 590_000 } as object,
  'kernel packet path in a namespace: packets, marks, cutting many connections, and what it marks as ended',
);
