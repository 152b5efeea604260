import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { COMMAND, EVENT, loadAddon, type NativeEvent, ROLES } from '../../src/native.ts';
import { until } from '../support/resumption-rig.ts';

/** Accepting rests behind so many events, MOST_UNTOLD of native/accept.c. Those of one more round of accepts, and the ends of who is open then, still come. */
const MOST_UNTOLD = 8_192 + 1_024;
/** MOST_EVENTS of native/js_start.c. */
const MOST_EVENTS = 128;
/** Each of them costs two events: more than three times what may wait. */
const ATTEMPTS = 14_000;

/** More connect than these before the kernel's own queue of the listener is full, too. */
const AT_LEAST = MOST_UNTOLD / 2;

/** Connects and resets, 64 at once, until all are done, or until so many are that the rest has begun and nothing moves any more. */
const FLOOD = `
  const { connect } = require('node:net');
  let [begun, over, connected, lately] = [0, 0, 0, 0];
  const one = () => {
    if (begun++ >= ${ATTEMPTS}) return;
    const socket = connect(Number(process.argv[1]), '127.0.0.1');
    socket.on('error', () => {}).on('close', () => { over++; one(); });
    socket.on('connect', () => { connected++; lately++; socket.resetAndDestroy(); });
  };
  for (let at = 0; at < 64; at++) one();
  setInterval(() => {
    if (over === ${ATTEMPTS} || (lately === 0 && connected > ${AT_LEAST})) { console.log(connected); process.exit(); }
    lately = 0;
  }, 1500);
`;

t.test(
  'native data path: while the main thread stands still, connections wait in the kernel and not in memory',
  async (t) => {
    const addon = loadAddon();
    const batches: number[] = [];
    const open = new Set<number>();
    let [accepted, closed, stopped, left, othersTurns] = [0, 0, false, false, 0];
    const handle = addon.start((batch: readonly NativeEvent[], _reports, more) => {
      batches.push(batch.length);
      left = more;
      if (more) setImmediate(() => addon.deliver(handle));
      if (more) setTimeout(() => othersTurns++);
      for (const event of batch) {
        if (event[0] === EVENT.accepted) accepted += Number(open.add(event[1]).has(event[1]));
        if (event[0] === EVENT.closed) closed += Number(open.delete(event[1]));
        stopped ||= event[0] === EVENT.stopped;
      }
    });
    const [, port] = addon.listen(handle, '127.0.0.1', 0, ROLES.indexOf('inbound'));
    const made = execFileSync(process.execPath, ['-e', FLOOD, String(port)], { encoding: 'utf8' });
    t.ok(Number(made) > AT_LEAST, `${made.trim()} connections while nobody was told`);
    await until(() => !left && accepted > MOST_UNTOLD / 4 && closed === accepted, 'the end of all');
    const all = batches.reduce((sum, one) => sum + one, 0);
    // And of those that the kernel kept meanwhile; without a bound two of each attempt.
    t.ok(all <= 1.5 * ATTEMPTS, `${all} events of them`);
    t.ok(Math.max(...batches) <= MOST_EVENTS, 'and so many of them in one turn of the event loop');
    t.ok(othersTurns > 1, 'between which others have theirs');
    // And then it serves as before.
    const before = accepted;
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    await once(socket, 'connect');
    await until(() => accepted > before, 'one more');
    socket.destroy();
    addon.command(handle, COMMAND.stop, 0, 0, false, 0, undefined);
    await until(() => stopped, 'the end');
  },
);
