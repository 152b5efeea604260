/** What never leaves a cluster in a report: tokens, keys, certificates' private halves, passwords in URLs and flags. */
const SECRETS: readonly RegExp[] = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  // A JWT: three parts of base64url, the first of which begins with {" .
  /\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*/g,
  /\b(?:Bearer|Basic)\s+[\w.~+/=-]{8,}/gi,
  /(?<=:\/\/)[^\s/:@]+:[^\s/@]+(?=@)/g,
  /(?<=\b(?:password|passwd|secret|token|api[_-]?key|authorization)"?\s*[=:]\s*"?)(?!REDACTED)[^\s"',}&]{4,}/gi,
  // The private member of a JWK.
  /(?<="d"\s*:\s*")[\w-]{20,}(?=")/g,
];

/** A text without the secrets that it might hold; what was there is replaced by `REDACTED`. */
export function redact(text: string): string {
  return SECRETS.reduce((left, pattern) => left.replace(pattern, 'REDACTED'), text);
}
