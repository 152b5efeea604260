/** `get pods`, from a verb and the URI of a request to the API server. */
export function requestKind(verb: string, uri: string): string {
  const path = uri.split('?', 1)[0]!.split('/').filter(Boolean);
  const rest = path.slice(path[0] === 'api' ? 2 : 3);
  const resource = rest[0] === 'namespaces' && rest.length > 2 ? rest[2] : rest[0];
  return `${verb} ${resource ?? ''}`.trim();
}

/** What issuing costs; everything else serves all sidecars at once. */
const ISSUING = /^(create tokenreviews|get pods|(get|create|update) configmaps)$/;

export function isIssuing(kind: string): boolean {
  return ISSUING.test(kind);
}

export interface RequestCount {
  readonly issuing: number;
  readonly shared: number;
  readonly byKind: Readonly<Record<string, number>>;
}

export function countRequests(kinds: readonly string[]): RequestCount {
  const byKind: Record<string, number> = {};
  for (const kind of kinds) byKind[kind] = (byKind[kind] ?? 0) + 1;
  const issuing = kinds.filter(isIssuing).length;
  return { issuing, shared: kinds.length - issuing, byKind };
}

/** Bytes sent on all connections, from `ss -tinH`. */
export function bytesSent(listing: string): number {
  return [...listing.matchAll(/\bbytes_sent:(\d+)/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}
