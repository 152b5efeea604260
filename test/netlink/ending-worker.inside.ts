/** Run by native-netlink-end.test.ts: threads that end while the kernel has news for them. */
import { once } from 'node:events';
import { isMainThread, Worker } from 'node:worker_threads';
import { loadAddon } from '../../src/native.ts';
import { MessageWriter } from '../../src/netlink/message-writer.ts';

const ROUTE = 0;
const GET_LINKS = 18;
const DUMP = 0x300;
const THREADS = 10;

if (isMainThread) {
  for (let thread = 0; thread < THREADS; thread++) await once(new Worker(import.meta.filename), 'exit');
  process.stdout.write('all ended\n');
} else {
  const addon = loadAddon();
  const netlink = addon.netlinkOpen(ROUTE, 0, 65_536);
  addon.netlinkListen(netlink, () => {}, undefined);
  addon.netlinkSend(
    netlink,
    new MessageWriter().begin(GET_LINKS, DUMP, 1).raw(new Uint8Array(16)).end().take(),
  );
  process.exit(0);
}
