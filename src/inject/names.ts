import { GRANTS_ANNOTATION } from '../sources/enforcement.ts';
import { INJECT_LABEL } from '../sources/objects-pod.ts';

/** Names that injection puts into a pod, and keys that steer it. `docs/injection.md` lists them. */
export { GRANTS_ANNOTATION, INJECT_LABEL };
export const PROXY_CONTAINER = 'countersign-proxy';
export const INIT_CONTAINER = 'countersign-redirect';
export const TOKEN_VOLUME = 'countersign-token';
export const RUN_VOLUME = 'countersign-run';
/** The authority's certificates, from a ConfigMap that the authority keeps in every namespace with injected pods. */
export const CA_VOLUME = 'countersign-ca';
export const OWN_VOLUMES: readonly string[] = [TOKEN_VOLUME, RUN_VOLUME, CA_VOLUME];
export const OWN_CONTAINERS: readonly string[] = [PROXY_CONTAINER, INIT_CONTAINER];

/** On an injected pod: the release that injected it, and what it would take to undo it. */
export const INJECTED_ANNOTATION = 'countersign.io/injected';
export const RESERVED_LABEL_PREFIX = 'identity.countersign.io/';

export const TOKEN_FOLDER = '/var/run/secrets/countersign/token';
export const CA_FOLDER = '/var/run/secrets/countersign/ca';
export const RUN_FOLDER = '/run/countersign';
