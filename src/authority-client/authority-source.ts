import type { PeerInterest, StateMessage } from '../authority-protocol/messages.ts';
import { contentsOf } from '../sources/cluster-contents.ts';
import { snapshotOf } from '../sources/snapshot-of.ts';
import type { EnforcementMode, Snapshot, Source, SourceProblem } from '../sources/source.ts';
import { UserError } from '../errors.ts';
import { askingDirectory } from './asking-directory.ts';
import { otherPod } from './authority-identity.ts';
import { type Asked, Questions } from './questions.ts';
import { applyState, forget, joinStates, type SliceContents } from './slice-store.ts';

export interface AuthoritySourceOptions {
  /** `namespace/name`: what is said about another one is refused. */
  readonly pod: string;
  /** The mode of the process: what holds where neither pod nor namespace says anything. */
  readonly mode: EnforcementMode;
  /** Where the default routes of the own pod lead. */
  readonly gateways?: readonly string[];
  /** Told of questions that are new, and of those that are taken back. */
  readonly onQuestions: (questions: {
    readonly addresses: readonly string[];
    readonly peers: readonly PeerInterest[];
    readonly drop: readonly string[];
  }) => void;
  /** Begins to connect; called once, by the start. */
  readonly onStart: () => void;
  readonly onClose: () => Promise<void>;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/**
 * What an authority tells of the cluster (docs/authority-api.md). It knows what was asked about: its snapshots are partial, and asking is looking into their
 * directory. When the authority goes the last snapshot stays.
 */
export class AuthoritySource implements Source {
  snapshot: Snapshot | undefined;
  problems: readonly SourceProblem[] = [];
  readonly questions = new Questions();
  readonly #options: AuthoritySourceOptions;
  readonly #listeners = new Set<() => void>();
  readonly #ended: (() => void)[] = [];
  #contents: SliceContents | undefined;
  #pending: StateMessage | undefined;
  #connected = false;
  #view: number | undefined;
  #trouble: string | undefined;
  #gathered: { addresses: string[]; peers: PeerInterest[]; drop: string[] } | undefined;
  #started = false;
  #closed = false;

  constructor(options: AuthoritySourceOptions) {
    this.#options = options;
  }

  /** When an authority last knew that what it told is the newest, milliseconds since the epoch. */
  get confirmedAt(): number | undefined {
    return this.#view ?? this.snapshot?.takenAt;
  }

  get connected(): boolean {
    return this.#connected;
  }

  async start(): Promise<void> {
    if (!this.#started) this.#options.onStart();
    this.#started = true;
    if (this.snapshot !== undefined || this.#closed) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        if (this.snapshot === undefined && !this.#closed) return;
        unsubscribe();
        resolve();
      };
      const unsubscribe = this.subscribe(done);
      this.#ended.push(done);
    });
  }

  subscribe(listener: () => void): () => void {
    // Of its own, so that one function may be there twice and be taken back once.
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.clear();
    for (const done of this.#ended) done();
    await this.#options.onClose();
  }

  /** Takes what an authority said. Throws when it is more than can be held, or about another pod. */
  take(message: StateMessage): void {
    const whole = this.#pending === undefined ? message : joinStates(this.#pending, message);
    this.#pending = whole.more ? whole : undefined;
    if (whole.more) return;
    if (whole.self !== this.#options.pod) throw new UserError(otherPod(whole.self, this.#options.pod));
    this.#connected = true;
    this.#trouble = undefined;
    const before = this.#contents;
    this.#contents = applyState(before, whole);
    this.#tell(before !== undefined && saysTheSame(before, this.#contents));
  }

  /** @param view when the authority knew that its view was the newest, milliseconds since the epoch */
  confirm(view: number): void {
    this.#view = view;
  }

  /** There is no authority at the moment, and why. */
  disconnected(why: string): void {
    this.#connected = false;
    this.#pending = undefined;
    this.#trouble = why;
    this.#tell(true);
  }

  /** A peer has proven itself: what becomes of it matters from now on. */
  noticePeer(peer: PeerInterest): void {
    const asked = this.questions.askPeer(peer);
    if (asked.asked) this.#gather(asked).peers.push(peer);
  }

  #ask(address: string, inside: boolean): void {
    const asked = this.questions.askAddress(address, inside);
    if (!asked.asked) return;
    this.#gather(asked).addresses.push(address);
  }

  /** Questions of one moment go together. */
  #gather({ dropped }: Asked): { addresses: string[]; peers: PeerInterest[]; drop: string[] } {
    if (this.#gathered === undefined) {
      this.#gathered = { addresses: [], peers: [], drop: [] };
      setImmediate(() => {
        const gathered = this.#gathered!;
        this.#gathered = undefined;
        if (!this.#closed) this.#options.onQuestions(gathered);
      });
    }
    this.#gathered.drop.push(...dropped);
    if (dropped.length > 0 && this.#contents !== undefined) this.#contents = forget(this.#contents, dropped);
    return this.#gathered;
  }

  #tell(same: boolean): void {
    const contents = this.#contents;
    const made = contents === undefined || same || contents.unusable ? undefined : this.#snapshotOf(contents);
    const kept = this.snapshot === undefined ? '' : '; the last state stays in force';
    const problems: SourceProblem[] = [
      ...(this.#trouble === undefined ? [] : [{ reason: `${this.#trouble}${kept}` }]),
      ...(contents?.problems.values() ?? []),
      ...(made?.problems ?? []),
    ];
    const sameProblems = JSON.stringify(problems) === JSON.stringify(this.problems);
    if (!sameProblems) this.problems = problems;
    if (made !== undefined) this.snapshot = made.snapshot;
    if ((made === undefined && sameProblems) || this.#closed) return;
    for (const listener of [...this.#listeners]) listener();
  }

  #snapshotOf(contents: SliceContents): { snapshot: Snapshot; problems: SourceProblem[] } | undefined {
    const { mode, gateways = [], now = Date.now } = this.#options;
    const { networks } = contents;
    const cluster = contentsOf([...contents.objects.values()]);
    const serviceCidrs = { kind: 'ServiceCIDR' as const, name: 'all', cidrs: networks.services };
    const made = snapshotOf(
      { ...cluster, serviceCidrs: [serviceCidrs] },
      { pod: contents.self, mode, podCidrs: networks.pods, gateways },
      (this.snapshot?.version ?? 0) + 1,
      now(),
    );
    if (made === undefined) return undefined;
    const directory = askingDirectory(made.snapshot.directory, {
      answered: contents.answered,
      networks: [...networks.pods, ...networks.services],
      ask: (address, inside) => this.#ask(address, inside),
      connected: () => this.#connected,
    });
    const snapshot: Snapshot = { ...made.snapshot, directory, partial: true };
    return { snapshot, problems: [...made.problems] };
  }
}

function saysTheSame(before: SliceContents, after: SliceContents): boolean {
  if (before.unusable !== after.unusable || before.self !== after.self) return false;
  if (before.objects.size !== after.objects.size || before.answered.size !== after.answered.size)
    return false;
  for (const [name, object] of after.objects) if (before.objects.get(name) !== object) return false;
  for (const address of after.answered) if (!before.answered.has(address)) return false;
  return JSON.stringify(before.networks) === JSON.stringify(after.networks);
}
