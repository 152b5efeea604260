import type { Curves } from '../lib/curves.ts';
import { DESTINATIONS } from './rehearsed-pods.ts';
import { RehearsedSidecars } from './rehearsed-sidecars.ts';

/**
 * Plays first contacts between two sidecars that exist for it alone, from the accepted socket to the record: everything that the life of a connection runs through
 * in TypeScript is called, and so compiled, and OpenSSL has looked up what it needs. A first contact in a process that never made one costs several times what a
 * later one does. Nothing that is in force takes part, no socket is opened, and nothing is left but warm code.
 */
export class Rehearsal {
  readonly #sidecars: RehearsedSidecars;
  #played = 0;

  constructor(curves: Curves) {
    this.#sidecars = new RehearsedSidecars(curves);
  }

  /**
   * One first contact: neither side knows the other, nor what it knew before.
   * @returns whether both sides proved themselves in full and were allowed, by the policy that says so
   */
  play(): Promise<boolean> {
    const [path] = this.#sidecars.paths;
    const destination = DESTINATIONS[this.#played++ % DESTINATIONS.length]!;
    return this.#sidecars.play(
      () => path.call(destination),
      () => path.finish(),
    );
  }

  close(): Promise<void> {
    return this.#sidecars.close();
  }
}
