import { loadAddon } from '../../src/native.ts';
import { FrameFormat } from '../../src/handshake/format.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { connect } from 'node:net';

/**
 * Dials ADDRESS PORT from a network namespace, for tests: `node far-client.ts ADDRESS PORT plain|fast|fast-silent`. `fast` sends a frame
 * with the dial. Prints the result of the dial as JSON, then what came back.
 */
const [, , address = '', port = '', how = ''] = process.argv;
const frame = Buffer.alloc(FrameFormat.headerBytes + 4);
frame.set(FrameFormat.magic);
frame.writeUInt16BE(4, FrameFormat.lengthOffset);
const first = how === 'fast' || how === 'plain' ? { first: frame } : {};

let self: ReturnType<typeof connect> | undefined;
let id = 0;
let connected = false;
/** Once both ends of the local connection know of it: a reset that overtook that would look like a failed connect. */
const begin = (): void => {
  if (id === 0 || !connected) return;
  path.dial(id, { address, port: Number(port) }, { fastOpen: how !== 'plain', ...first });
};
const path = new NativeDataPath(loadAddon(), {
  accepted(accepted) {
    id = accepted;
    begin();
  },
  frame: () => {},
  notFrame: () => {},
  frameTooLarge: () => {},
  dialled(_id, error) {
    console.log(JSON.stringify({ kind: 'dialled', error: error ?? null }));
    if (error !== undefined) self!.destroy();
    else path.relay(id, { guard: false });
    if (how === 'fast-silent') setTimeout(() => self!.destroy(), 200);
  },
  preamble: () => {},
  closed: () => {},
});
const listener = await path.listen({ role: 'outbound', address: '127.0.0.1', port: 0 });
self = connect(listener.endpoint.port, '127.0.0.1');
self.on('connect', () => {
  connected = true;
  begin();
});
self.on('data', (bytes) => {
  console.log(JSON.stringify({ kind: 'data', hex: bytes.toString('hex') }));
  if (bytes.length >= frame.length) self.destroy();
});
self.on('error', () => {}).on('close', () => void path.close());
setTimeout(() => self.destroy(), 4_000).unref();
