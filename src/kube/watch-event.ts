import { ApiError } from './api-error.ts';

/** An object as the API serves it. Never the client library's models: they rename fields (`from` becomes `_from`). */
export type RawObject = Readonly<Record<string, unknown>>;

/** One line of a watch (API concepts, "Efficient detection of changes"). */
export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: RawObject; readonly at: ObjectMark }
  | { readonly type: 'BOOKMARK'; readonly version: string; readonly initialEventsEnd: boolean };

/** What tells one state of an object from another. */
export interface ObjectMark {
  /** `namespace/name`, or the name alone. */
  readonly key: string;
  readonly uid: string;
  readonly version: string;
}

/** The annotation of the bookmark that ends the initial events (KEP-3157). */
const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

/**
 * Reads a line of a watch. Pure.
 * Throws an {@link ApiError} for an `ERROR` event, with the status in it, and for what is no event at all.
 */
export function parseWatchEvent(line: string): WatchEvent {
  let event: { type?: unknown; object?: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (error) {
    throw new ApiError('the watch was cut off in the middle of an event', { cause: error });
  }
  const { type } = event ?? {};
  if (typeof event?.object !== 'object' || event.object === null) throw noEvent();
  const object = event.object as RawObject;
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object, at: markOf(object) };
    case 'BOOKMARK': {
      const { resourceVersion, annotations } = metadataOf(object);
      if (typeof resourceVersion !== 'string' || resourceVersion === '') throw noEvent();
      const end = (annotations as Record<string, unknown> | undefined)?.[INITIAL_EVENTS_END] === 'true';
      return { type, version: resourceVersion, initialEventsEnd: end };
    }
    case 'ERROR': {
      const { code, message, reason, details } = object as {
        code?: unknown;
        message?: unknown;
        reason?: unknown;
        details?: { retryAfterSeconds?: unknown } | null;
      };
      throw new ApiError(
        typeof message === 'string' ? message.slice(0, 500) : 'the watch ended with an error',
        {
          status: typeof code === 'number' ? code : 500,
          reason: typeof reason === 'string' ? reason : '',
          retryAfterMs: Number(details?.retryAfterSeconds ?? 0) * 1000 || 0,
        },
      );
    }
    default:
      throw noEvent();
  }
}

/** Name, uid and version of an object. Throws when it has none: then it is no object of the API. */
export function markOf(object: RawObject): ObjectMark {
  const { namespace, name, uid, resourceVersion } = metadataOf(object);
  if (typeof name !== 'string' || name === '' || typeof resourceVersion !== 'string') throw noEvent();
  const key = typeof namespace === 'string' && namespace !== '' ? `${namespace}/${name}` : name;
  return { key, uid: typeof uid === 'string' ? uid : '', version: resourceVersion };
}

function metadataOf(object: RawObject): Record<string, unknown> {
  const { metadata } = object as { metadata?: unknown };
  return typeof metadata === 'object' && metadata !== null ? (metadata as Record<string, unknown>) : {};
}

function noEvent(): ApiError {
  return new ApiError('the API server answered with something that is no object of the API');
}
