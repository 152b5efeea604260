import { closeSync, constants, fstatSync, openSync, statSync, write } from 'node:fs';
import { Socket } from 'node:net';

/** Takes bytes and tells how many of them went; one write at a time. */
export interface LogOutput {
  write(bytes: Buffer, done: (error: NodeJS.ErrnoException | null, written: number) => void): void;
  /** Whether this is still what `file` names; always so where it has no name. */
  isNamed(file: string): boolean;
  /** After the last write. */
  close(): void;
  /** Instead, in the middle of a write that does not end: it must not keep the process. */
  abandon(): void;
}

/** Appends to a file. Throws where it cannot be opened; does not wait for the reader of a named pipe (ENXIO). */
export function openFileOutput(file: string): LogOutput {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
  const descriptor = openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o640);
  return {
    write: (bytes, done) => write(descriptor, bytes, done),
    isNamed: (name) => isSameFile(name, descriptor),
    close: () => closeSync(descriptor),
    abandon: () => {},
  };
}

/**
 * A descriptor that was inherited (1: standard output), not closed. A pipe goes through the event loop: a write that nobody reads
 * would hold a thread of the pool, and with it the end of the process, for ever.
 */
export function inheritedOutput(descriptor: number): LogOutput {
  const stat = fstatSync(descriptor);
  if (!stat.isFIFO() && !stat.isSocket()) {
    return {
      write: (bytes, done) => write(descriptor, bytes, done),
      isNamed: () => true,
      close: () => {},
      abandon: () => {},
    };
  }
  const socket = new Socket({ fd: descriptor, readable: false, writable: true });
  socket.on('error', () => {}); // each write is told of it
  return {
    write: (bytes, done) => socket.write(bytes, (error) => done(error ?? null, bytes.length)),
    isNamed: () => true,
    close: () => {},
    abandon: () => socket.destroy(),
  };
}

function isSameFile(name: string, descriptor: number): boolean {
  try {
    const [named, opened] = [statSync(name), fstatSync(descriptor)];
    return named.ino === opened.ino && named.dev === opened.dev;
  } catch {
    return false;
  }
}
