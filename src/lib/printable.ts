/** What a terminal or a log reader could take for a command: control and format characters (bidirectional marks), line separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * A text for one line of a log or an answer, whatever it was made from: no control characters (each becomes U+FFFD), whole characters only, at
 * most `max` UTF-16 units; an ellipsis says that something was cut off.
 */
export function printable(text: string, max: number): string {
  const kept = text.length > max ? `${text.slice(0, max - 1)}…` : text;
  return kept.replace(UNPRINTABLE, '\ufffd').toWellFormed();
}
