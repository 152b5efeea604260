import { dirname, resolve } from 'node:path';
import { messageOf } from '../errors.ts';
import { readSmallFile } from '../identity/file-identity.ts';
import type { FederationCache } from './federation-cache.ts';
import { authoritiesIn, entryOf, keysIn, type ToldKeys } from './federation-entries.ts';
import { fetchKeys } from './federation-fetch.ts';
import { type DomainSetting, type KeysSource, parseFederationSettings } from './federation-settings.ts';

const POLL_MS = 1_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;

export interface FederationKeeperOptions {
  /** What `--federation` names; that it is not there means that there is no federation. */
  readonly file: string;
  readonly trustDomain: string;
  /** Where keys outlive this process; left out: nowhere. */
  readonly cache?: FederationCache;
  readonly onProblem: (problem: string) => void;
  /** Told when {@link FederationKeeper.entries} may say something else. */
  readonly onChange: () => void;
  /** Seconds since the epoch. */
  readonly now?: () => number;
}

/** One domain that is kept up to date. */
interface Kept {
  readonly setting: DomainSetting;
  /** Of what it is about: where this stays the same, what was told stays too. */
  readonly key: string;
  told: ToldKeys | undefined;
  problem: string | undefined;
  failures: number;
  /** Monotonic milliseconds: when to look again. */
  next: number;
  looking: boolean;
}

/** How a domain is, for metrics and logs. */
export interface DomainState {
  readonly trustDomain: string;
  /** Seconds since its keys were told; undefined: never. Inline keys are always of now. */
  readonly age: number | undefined;
  readonly keys: number;
  readonly problem: string | undefined;
}

/**
 * Follows the settings of federation and the keys of other domains. What cannot be read or had changes nothing: the last good settings stay, and the last keys
 * up to their end. A domain that is taken out of the file is out at once.
 */
export class FederationKeeper {
  readonly #options: FederationKeeperOptions;
  readonly #end = new AbortController();
  #kept: Kept[] = [];
  #text: string | undefined;
  #problem: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking = false;
  #good = false;

  constructor(options: FederationKeeperOptions) {
    this.#options = options;
  }

  /** Why it cannot say yet whom to believe; undefined: it can. Without that no address is known to be another domain's. */
  get missing(): string | undefined {
    return this.#good ? undefined : (this.#problem ?? 'the federation has not been read yet');
  }

  get domains(): readonly DomainState[] {
    const now = this.#now();
    return this.#kept.map(({ setting: { trustDomain, source }, told, problem }) => ({
      trustDomain,
      age: source.kind === 'inline' ? 0 : told && now - told.at,
      keys: source.kind === 'inline' ? source.keys.length : (told?.keys.length ?? 0),
      problem,
    }));
  }

  /** The entries of trust bundles for a pod of a namespace, in the order of the file. */
  entries(namespace: string): readonly object[] {
    const now = this.#now();
    return this.#kept
      .filter(({ setting }) => setting.localNamespaces?.has(namespace) !== false)
      .map(({ setting, told }) => entryOf(setting, told, now));
  }

  /** Resolves when the settings were looked at, and each server was asked once whose keys are not remembered. */
  async start(): Promise<void> {
    const trouble = await this.#options.cache?.load();
    if (trouble !== undefined) this.#options.onProblem(trouble);
    await this.#look(true);
    this.#timer = setInterval(() => void this.#look(), POLL_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#end.abort();
  }

  /** @param patient waits for servers whose keys nobody remembers */
  async #look(patient = false): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      await this.#readSettings();
      await Promise.all(this.#kept.map((one) => this.#readKeys(one, patient)));
    } finally {
      this.#looking = false;
    }
  }

  async #readSettings(): Promise<void> {
    const { file, trustDomain, onProblem, onChange } = this.#options;
    try {
      const text = await readSmallFile(file).catch((error: Error) => {
        if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return '';
        throw error;
      });
      if (text === this.#text) return;
      const settings = parseFederationSettings(text, file, trustDomain);
      const before = new Map(this.#kept.map((one) => [one.key, one]));
      this.#kept = settings.map((setting) => {
        const key = JSON.stringify([setting.trustDomain, setting.source]);
        const known = before.get(key);
        return known === undefined
          ? {
              setting,
              key,
              told: this.#remembered(setting, key),
              problem: undefined,
              failures: 0,
              next: 0,
              looking: false,
            }
          : { ...known, setting, looking: false };
      });
      this.#text = text;
      this.#problem = undefined;
      this.#good = true;
      onChange();
    } catch (error) {
      const problem = `${messageOf(error)}${this.#good ? '; the last settings stay in force' : ''}`;
      if (problem !== this.#problem) onProblem(problem);
      this.#problem = problem;
    }
  }

  async #readKeys(one: Kept, patient: boolean): Promise<void> {
    const { source, trustDomain } = one.setting;
    if (source.kind === 'inline' || one.looking || performance.now() < one.next) return;
    one.looking = true;
    // A server that takes its time keeps nobody waiting who has keys.
    const wait = source.kind === 'file' || (patient && one.told === undefined);
    const done = this.#ask(one, source, trustDomain);
    if (wait) await done;
  }

  async #ask(one: Kept, source: Exclude<KeysSource, { kind: 'inline' }>, trustDomain: string): Promise<void> {
    const beside = (file: string): string => resolve(dirname(this.#options.file), file);
    try {
      const [text, name] =
        source.kind === 'file'
          ? [await readSmallFile(beside(source.file)), beside(source.file)]
          : [
              await fetchKeys(
                { ...source, caFile: beside(source.caFile) },
                one.told?.authorities,
                this.#end.signal,
              ),
              source.url,
            ];
      const authorities = source.kind === 'url' ? authoritiesIn(text, name) : undefined;
      const told = {
        keys: keysIn(text, name, trustDomain),
        at: this.#now(),
        ...(authorities === undefined ? {} : { authorities }),
      };
      const entry = (): string => JSON.stringify(entryOf(one.setting, one.told, this.#now()));
      const before = entry();
      const sameAuthorities = one.told?.authorities === authorities;
      one.told = told;
      one.failures = 0;
      one.problem = undefined;
      one.next =
        performance.now() +
        (source.kind === 'file' ? 0 : source.refresh * 1000 * (0.9 + Math.random() * 0.1));
      if (!this.#kept.includes(one)) return;
      const same = entry() === before;
      if (!same) this.#options.onChange();
      if (source.kind === 'url' && !(same && sameAuthorities)) await this.#remember();
    } catch (error) {
      const problem = `${trustDomain}: ${messageOf(error)}${one.told === undefined ? '; nobody of it is believed' : '; its last keys stay up to their end'}`;
      if (problem !== one.problem && !this.#end.signal.aborted) this.#options.onProblem(problem);
      one.problem = problem;
      const pause = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** one.failures++);
      one.next = performance.now() + (source.kind === 'file' ? 0 : pause * (0.5 + Math.random() * 0.5));
    } finally {
      one.looking = false;
    }
  }

  #remembered({ source }: DomainSetting, key: string): ToldKeys | undefined {
    const told = source.kind === 'url' ? this.#options.cache?.get(key) : undefined;
    // Of the future is what a clock set wrong has written: it would be believed for too long.
    return told !== undefined && told.at <= this.#now() ? told : undefined;
  }

  async #remember(): Promise<void> {
    const all = this.#kept.flatMap(({ key, setting, told }) =>
      told === undefined || setting.source.kind !== 'url' ? [] : [[key, told] as const],
    );
    const trouble = await this.#options.cache?.keep(new Map(all));
    if (trouble !== undefined) this.#options.onProblem(trouble);
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now() / 1000;
  }
}
