/**
 * The API server did not do what it was asked for. `status` is that of HTTP, or of the `Status` in a watch; 0: nothing that could be
 * understood came back (no connection, cut off, no JSON).
 */
export class ApiError extends Error {
  readonly status: number;
  /** The machine-readable word of a `Status` object: `Expired`, `AlreadyExists`, `Conflict`. Empty where none was given. */
  readonly reason: string;
  /** `Retry-After` in milliseconds; 0 where the server asks for nothing. */
  readonly retryAfterMs: number;

  constructor(
    message: string,
    details: { status?: number; reason?: string; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? {} : { cause: details.cause });
    this.name = 'ApiError';
    this.status = details.status ?? 0;
    this.reason = details.reason ?? '';
    this.retryAfterMs = details.retryAfterMs ?? 0;
  }

  /** What was asked for is of the past: a `continue` or a resource version that was compacted away. */
  get expired(): boolean {
    return this.status === 410;
  }
}

/**
 * The error that a `Status` object tells of (API conventions, "Response Status Kind"). Takes anything: a proxy in between answers with HTML.
 * @param retryAfter the header, seconds or nothing
 */
export function apiErrorOf(status: number, body: string, retryAfter: string | undefined): ApiError {
  let said: { message?: unknown; reason?: unknown; details?: { retryAfterSeconds?: unknown } | null } = {};
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null) said = parsed;
  } catch {
    // It is no Status: the number says what there is to say.
  }
  const message = typeof said.message === 'string' && said.message !== '' ? said.message : `HTTP ${status}`;
  const asked = Number(retryAfter ?? said.details?.retryAfterSeconds ?? 0);
  return new ApiError(message.slice(0, 500), {
    status,
    reason: typeof said.reason === 'string' ? said.reason : '',
    retryAfterMs: Number.isFinite(asked) && asked > 0 ? asked * 1000 : 0,
  });
}
