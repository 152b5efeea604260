import { connect } from 'node:net';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';

/**
 * A data path that relays connections of its own to ADDRESS PORT, made one after the other, and holds them until it is killed, for tests:
 * `node far-legs.ts ADDRESS PORT COUNT`. Prints the port of its listener as JSON when all stand, or the first error.
 */
const [, , address = '', port = '', count = ''] = process.argv;
let standing = 0;
const call = (): void => {
  connect(listener.endpoint.port, '127.0.0.1').on('error', () => {});
};
const path = new NativeDataPath(loadAddon(), {
  accepted: (id) => path.dial(id, { address, port: Number(port) }, { fastOpen: false }),
  frame: () => {},
  notFrame: () => {},
  frameTooLarge: () => {},
  dialled(id, error) {
    if (error === undefined) path.relay(id, { guard: false });
    if (error !== undefined || ++standing === Number(count)) {
      console.log(JSON.stringify({ port: listener.endpoint.port, error: error ?? null }));
    } else {
      call();
    }
  },
  preamble: () => {},
  closed: () => {},
});
const listener = await path.listen({ role: 'outbound', address: '127.0.0.1', port: 0 });
call();
