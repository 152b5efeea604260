/** Texts that replicas share, with the version that a change has to name. */
export interface SharedContents {
  readonly data: Readonly<Record<string, string>>;
  readonly version: string;
}

/**
 * A Secret or ConfigMap that several replicas read and write. Optimistic: who writes names the version that was read, and learns when somebody was
 * faster. Every method throws when the API server cannot be reached or does not allow it.
 */
export interface SharedObject {
  /** For messages: `secret/countersign-system/countersign-signing-keys`. */
  readonly name: string;
  /** undefined: it is not there. */
  read(): Promise<SharedContents | undefined>;
  /** false: somebody else made it meanwhile. */
  create(data: Readonly<Record<string, string>>): Promise<boolean>;
  /** false: somebody else changed it meanwhile. */
  replace(data: Readonly<Record<string, string>>, version: string): Promise<boolean>;
}
