/** One way from the load to the application, up and running. */
export interface Variant {
  readonly id: string;
  readonly title: string;
  /** Host of the load. */
  readonly client: string;
  /** Hosts of the application. */
  readonly servers: readonly string[];
  /** What the load dials. */
  readonly target: { readonly address: string; readonly port: number };
  /** Processes in between. */
  readonly proxies: readonly number[];
  /** Processes of the application. */
  readonly application: readonly number[];
  /** Whether the proxies are sidecars, whose counters have to agree with the load. */
  readonly proves: boolean;
  /** Whether every connection has to be a first contact. */
  readonly forgetful?: boolean;
}
