/** How much has happened so far: what a test waits for is that it stops growing. */
export const activity = { count: 0 };

/** One end of a connection in memory: bytes, end and reset arrive at the other end a moment later, in order. */
export class End {
  #peer: End | undefined;
  #received: Buffer = Buffer.alloc(0);
  /** How the other end went. */
  gone: 'end' | 'reset' | undefined;
  finished = false;
  onChange: (() => void) | undefined;

  static pair(): [End, End] {
    const [a, b] = [new End(), new End()];
    a.#peer = b;
    b.#peer = a;
    return [a, b];
  }

  get unread(): Buffer {
    return this.#received;
  }

  get text(): string {
    return this.#received.toString('utf8');
  }

  take(length: number): Buffer {
    const taken = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return taken;
  }

  write(bytes: Uint8Array): void {
    const copy = Buffer.from(bytes);
    this.#later((peer) => {
      peer.#received = Buffer.concat([peer.#received, copy]);
    });
  }

  say(text: string): void {
    this.write(Buffer.from(text));
  }

  finish(): void {
    if (this.finished) return;
    this.finished = true;
    this.#later((peer) => {
      peer.gone ??= 'end';
    });
  }

  reset(): void {
    this.finished = true;
    this.#later((peer) => {
      peer.gone = 'reset';
    });
  }

  #later(change: (peer: End) => void): void {
    const peer = this.#peer!;
    activity.count++;
    setImmediate(() => {
      activity.count++;
      if (peer.gone === 'reset') return;
      change(peer);
      peer.onChange?.();
    });
  }
}
