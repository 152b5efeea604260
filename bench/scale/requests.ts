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

/** Bytes sent by connection, from `ss -tinH`: a line with its ends, and indented ones about it. */
export function bytesSent(listing: string): Map<string, number> {
  const connections = listing.matchAll(/^(?<ends>\S.*)\n(?:\s.*?\bbytes_sent:(?<bytes>\d+))?/gm);
  return new Map(
    [...connections].map(({ groups }) => [
      groups!['ends']!.trim().split(/\s+/).slice(-2).join(' '),
      Number(groups!['bytes'] ?? 0),
    ]),
  );
}

/** Bytes sent since, on the connections that still are: what those that ended meanwhile have sent is not to be had. */
export function bytesBetween(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): number {
  return [...after].reduce((sum, [ends, bytes]) => sum + bytes - (before.get(ends) ?? 0), 0);
}
