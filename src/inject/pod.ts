import type { V1Container, V1Pod, V1Probe, V1SecurityContext, V1Volume } from '@kubernetes/client-node';

/** The fields of a class of the Kubernetes client, as the plain object that JSON and YAML give. */
type Plain<T> = T extends Date
  ? string
  : T extends (infer U)[]
    ? Plain<U>[]
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;

export type Pod = Plain<V1Pod>;
export type Container = Plain<V1Container>;
export type Probe = Plain<V1Probe>;
export type SecurityContext = Plain<V1SecurityContext>;
export type Volume = Plain<V1Volume>;
