import type { ApiClient } from './api-client.ts';
import { ApiError } from './api-error.ts';
import type { RawObject } from './watch-event.ts';

const PAGE = 500;
/** After that many lists that expired half-way the whole is asked for at once. */
const MOST_RESTARTS = 2;

/**
 * All objects of a list, a chunk at a time (API concepts, "Retrieving large results sets in chunks"). When the continuation has expired (410) the list
 * begins anew, and `onItems` is told so. A consistent read: no resource version is asked for, so that it cannot be older than what was seen before.
 * @returns the version from which to watch
 */
export async function listPages(
  client: ApiClient,
  path: string,
  selectors: Readonly<Record<string, string | undefined>>,
  onItems: (items: readonly RawObject[] | 'anew') => void,
  signal?: AbortSignal,
): Promise<string> {
  for (let restarts = 0; ;) {
    const limit = restarts > MOST_RESTARTS ? undefined : String(PAGE);
    let next: string | undefined;
    try {
      do {
        const page = pageOf(await client.get(path, { ...selectors, limit, continue: next }, signal), path);
        onItems(page.items);
        next = page.next;
        if (next === undefined) return page.version;
      } while (next !== undefined);
    } catch (error) {
      if (!(error instanceof ApiError && error.expired && next !== undefined)) throw error;
      restarts++;
      onItems('anew');
    }
  }
}

function pageOf(
  value: unknown,
  path: string,
): { items: readonly RawObject[]; next: string | undefined; version: string } {
  const { items, metadata } = (value ?? {}) as {
    items?: unknown;
    metadata?: { continue?: unknown; resourceVersion?: unknown };
  };
  const version = metadata?.resourceVersion;
  const wellFormed = items === null || (Array.isArray(items) && items.every(isObject));
  if (!wellFormed || typeof version !== 'string' || version === '') {
    throw new ApiError(`GET ${path}: the answer is no list of objects`);
  }
  const next = metadata?.continue;
  return {
    items: (items ?? []) as readonly RawObject[],
    next: typeof next === 'string' && next !== '' ? next : undefined,
    version,
  };
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
