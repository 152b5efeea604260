/** A line of the input, or that it was longer than is accepted. */
export type Line = { readonly text: string } | { readonly tooLong: number };

const NEWLINE = 0x0a;

/**
 * Cuts a stream of bytes into lines of UTF-8 text, without their ends. A line that is too long is told when it ends, and never
 * held in memory. What follows the last line end is a line, unless it is empty.
 */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>, longest: number): AsyncGenerator<Line> {
  let parts: Uint8Array[] = [];
  let length = 0;
  const take = (part: Uint8Array): void => {
    length += part.length;
    if (length > longest) parts = [];
    else parts.push(part);
  };
  const finish = (): Line => {
    const line: Line =
      length > longest ? { tooLong: length } : { text: Buffer.concat(parts, length).toString('utf8') };
    parts = [];
    length = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      take(chunk.subarray(start, end));
      yield finish();
      start = end + 1;
    }
    if (start < chunk.length) take(chunk.subarray(start));
  }
  if (length > 0) yield finish();
}
