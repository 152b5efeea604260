import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type net from 'node:net';
import t from 'tap';
import { ResumptionRig, until } from '../support/resumption-rig.ts';

/** Of a connection's name: its place in the data thread's list, SLOT_BITS of native/connections.c. */
const PLACES = 2 ** 20;

/** The descriptor of this process for the end of a connection that has these ports (proc(5), /proc/net/tcp). */
function descriptorOf(local: number, remote: number): number {
  const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0');
  const line = readFileSync('/proc/self/net/tcp', 'utf8')
    .split('\n')
    .map((text) => text.trim().split(/\s+/))
    .find(([, here, there]) => here?.endsWith(`:${hex(local)}`) && there?.endsWith(`:${hex(remote)}`));
  const link = `socket:[${line![9]}]`;
  const found = readdirSync('/proc/self/fd').find((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === link;
    } catch {
      return false; // the one that reads the folder
    }
  });
  return Number(found);
}

t.test(
  'native data path: news of a socket that a child still holds are not taken for news of another connection',
  async (t) => {
    const rig = new ResumptionRig();
    t.teardown(() => rig.stop());
    await rig.start('inbound');
    const open = async () => {
      const [index, served] = [rig.accepts.length, rig.upstreamSockets.length];
      const caller = await rig.connect('before');
      await until(() => rig.accepts.length > index, 'the connection');
      const { id } = rig.accepts[index]!;
      rig.dataPath.dial(id, rig.target, { fastOpen: false, first: new Uint8Array(0) });
      rig.dataPath.relay(id, { guard: false });
      const server = await rig.served(served);
      await server.has(6);
      return { id, caller, server };
    };
    const first = await open();
    const fd = descriptorOf(rig.listening.port, (first.caller.socket.address() as net.AddressInfo).port);
    // As every child does from fork to exec; this one for longer.
    const holder = spawn('cat', [], { stdio: ['pipe', 'ignore', 'inherit', fd] });
    t.teardown(() => holder.kill('SIGKILL'));
    await once(holder, 'spawn');
    rig.dataPath.reset(first.id);
    await until(() => rig.ended.has(first.id), 'its end');

    const second = await open();
    t.equal(second.id % PLACES, first.id % PLACES, 'another connection has its place');
    t.not(second.id, first.id, 'under another name');
    // Held, the socket has told its peer nothing of its end; what the peer does now epoll tells of the socket that is closed here.
    first.caller.socket.resetAndDestroy();
    await once(first.caller.socket, 'close');
    second.caller.socket.write('after');
    await second.server.has(11);
    second.server.socket.write('answer');
    await second.caller.has(6);
    t.notOk(rig.ended.has(second.id), 'the other connection goes on');
  },
);
