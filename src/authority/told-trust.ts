/**
 * The trust bundles that sidecars are told: the own keys, and the other domains that concern a namespace. The same object as long as it says the same, so that
 * who compares objects tells only what is new.
 */
export class ToldTrust {
  readonly #entries: (namespace: string) => readonly object[];
  /** By what they say: namespaces that know the same domains share one. */
  #byText = new Map<string, object>();
  #own: object = {};

  /** @param entries those of other domains for a pod of a namespace */
  constructor(entries: (namespace: string) => readonly object[]) {
    this.#entries = entries;
  }

  /** The own keys alone: for everybody, and for whoever verifies identities of this domain. */
  get own(): object {
    return this.#own;
  }

  /** @returns whether these are other keys than before */
  replaceOwn(bundle: object): boolean {
    if (JSON.stringify(bundle) === JSON.stringify(this.#own)) return false;
    this.#own = bundle;
    return true;
  }

  /** What a pod of a namespace is told. */
  for(namespace: string): object {
    const federation = this.#entries(namespace);
    const bundle = federation.length === 0 ? this.#own : { ...this.#own, federation };
    const text = JSON.stringify(bundle);
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    // Bounded: what nobody is told any more need not be known again.
    if (this.#byText.size >= 1_024) this.#byText.clear();
    this.#byText.set(text, bundle);
    return bundle;
  }
}
