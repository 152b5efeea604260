/** What became of a connection: answered by whom it was meant for, refused, or neither within the time. */
export type Outcome = 'open' | 'refused' | 'silent' | `wrong answer: ${string}`;
/** By `FROM > TO`. */
export type Matrix = ReadonlyMap<string, Outcome>;

/**
 * Who reaches whom, as rules on a table in which at first everybody does: `deny x/* > x/a`, `allow y/b > *`. The last one that fits holds. Whatever they say, a pod reaches
 * itself: no policy is about that.
 */
export function expected(pods: readonly string[], rules: readonly string[]): Matrix {
  const parsed = rules.map((rule) => {
    const found = /^(allow|deny) (\S+) > (\S+)$/.exec(rule);
    if (found === null) throw new Error(`${rule} is no rule`);
    const [, word = '', from = '', to = ''] = found;
    const used = [from, to].every((pattern) => pods.some((pod) => fits(pattern, pod)));
    if (!used) throw new Error(`${rule} is about nobody`);
    return { open: word === 'allow', from, to };
  });
  const cells = pods.flatMap((from) =>
    pods.map((to): [string, Outcome] => {
      const rule = parsed.findLast((one) => fits(one.from, from) && fits(one.to, to));
      return [`${from} > ${to}`, from === to || (rule?.open ?? true) ? 'open' : 'refused'];
    }),
  );
  return new Map(cells);
}

/** The cells in which two tables differ. */
export function differences(wanted: Matrix, seen: Matrix): string[] {
  return [...wanted].flatMap(([cell, outcome]) => {
    const real = seen.get(cell);
    return real === outcome ? [] : [`${cell} is ${real ?? 'not asked'}, and should be ${outcome}`];
  });
}

/** A table for people: a row for each client, a column for each server. `.` open, `X` refused, `?` neither; what should be otherwise is in brackets. */
export function matrixText(pods: readonly string[], wanted: Matrix, seen: Matrix): string {
  const sign = (cell: string): string => {
    const outcome = seen.get(cell);
    const letter = outcome === 'open' ? '.' : outcome === 'refused' ? 'X' : '?';
    return outcome === wanted.get(cell) ? ` ${letter} ` : `[${letter}]`;
  };
  const width = Math.max(...pods.map((pod) => pod.length));
  const row = (head: string, cells: readonly string[]): string =>
    [head.padEnd(width), ...cells.map((cell) => cell.padEnd(width))].join(' ').trimEnd();
  return [
    row('', pods),
    ...pods.map((from) =>
      row(
        from,
        pods.map((to) => sign(`${from} > ${to}`)),
      ),
    ),
  ].join('\n');
}

function fits(pattern: string, pod: string): boolean {
  const [namespace = '', name = '*'] = pattern.split('/');
  const [ofPod, nameOfPod] = pod.split('/');
  return (namespace === '*' || namespace === ofPod) && (name === '*' || name === nameOfPod);
}
