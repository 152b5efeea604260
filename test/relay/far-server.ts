import { createServer } from 'node:net';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';

/**
 * A data path in a network namespace of its own, for tests: `node far-server.ts ADDRESS PORT`. Prints one JSON line per report. Reads
 * one frame from every client and ends the connection then.
 */
const [, , address = '', port = ''] = process.argv;
const print = (line: object): void => console.log(JSON.stringify(line));

if (address === 'echo') {
  createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(Number(port), '::', () =>
    print({ kind: 'listening' }),
  );
} else {
  const path = new NativeDataPath(loadAddon(), {
    accepted(id, accepted) {
      print({ kind: 'accepted', ...accepted, syn: Buffer.from(accepted.syn).toString('hex') });
      path.readFrame(id, 'client', 5_000);
    },
    frame(id, _side, frame) {
      print({ kind: 'frame', length: frame.length });
      path.send(id, 'client', Buffer.from('seen'));
      path.reset(id);
    },
    notFrame(id, _side, bytes, endOfFile) {
      print({ kind: 'notFrame', length: bytes.length, endOfFile });
      path.reset(id);
    },
    frameTooLarge: (id) => path.reset(id),
    dialled: () => {},
    preamble: () => {},
    closed: (_id, closed) => print({ kind: 'closed', cause: closed.cause }),
  });
  await path.listen({ role: 'inbound', address, port: Number(port) });
  print({ kind: 'listening' });
}
