import { messageOf } from '../errors.ts';
import type { Pod } from '../peers/directory.ts';
import type { Curves } from '../lib/curves.ts';
import { IdentityKeeper } from './identity-keeper.ts';

/** How often files and the clock are looked at. Files are read whole each time: a symbolic link may have been swapped without a trace. */
const POLL_MS = 1_000;

/** What a sidecar's source says of its own pod. */
export interface OwnPod {
  readonly pod: Pod;
  readonly namespaceLabels: Readonly<Record<string, string>>;
}

/** An identity that depends on what the source says of the own pod, and on files: looked at when the one is told, and every second for the other. */
export abstract class DescribedIdentity extends IdentityKeeper {
  #own: OwnPod | undefined;
  #turn: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param file the one that has to be read before there is an identity */
  constructor(file: string, curves?: Curves) {
    super(curves);
    this.fail(`${file}: not read yet`);
  }

  /** Who the pod is, whenever that is learnt anew. Resolves when it was looked at. */
  async describe(own: OwnPod): Promise<void> {
    this.#own = own;
    this.#timer ??= setInterval(() => void this.#keepUp(), POLL_MS).unref();
    await this.#keepUp();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  /** Puts in force what is there now, where that is not what is in force. What it throws is told as the problem. */
  protected abstract look(own: OwnPod): Promise<void>;

  /** One look after the other: a slow file system must not let an older look overtake a newer one. */
  #keepUp(): Promise<void> {
    const before = this.#turn;
    const turn = async (): Promise<void> => {
      await before;
      if (this.#own === undefined || this.#closed) return;
      try {
        await this.look(this.#own);
      } catch (error) {
        this.fail(messageOf(error));
      }
    };
    this.#turn = turn();
    return this.#turn;
  }
}
