import type { Matrix, MatrixFlow } from './matrix.ts';

const CELLS = { allow: 'yes', deny: '-', 'no-such-port': '?' };

/** Rows call columns; columns are numbered, so that the table stays narrow. */
export function matrixTable({ port, protocol, ends, flows }: Matrix): string {
  const width = Math.max(...ends.map(({ name }) => name.length), 4);
  const digits = String(ends.length).length;
  const column = Math.max(digits, 3);
  const label = (index: number): string => String(index + 1).padStart(digits);
  const cellOf = new Map<string, string>();
  for (const flow of flows) {
    const key = JSON.stringify([flow.from, flow.to]);
    const cell = CELLS[flow.verdict];
    const before = cellOf.get(key);
    // One name for several ports of a pod, some open and some not.
    cellOf.set(key, before === undefined || before === cell ? cell : 'mix');
  }
  const head = `${''.padEnd(digits + 1 + width)}  ${ends.map((_, index) => String(index + 1).padStart(column)).join(' ')}`;
  const rows = ends.map(({ name: from }, row) => {
    const cells = ends.map(({ name: to }) =>
      (cellOf.get(JSON.stringify([from, to])) ?? '.').padStart(column),
    );
    return `${label(row)} ${from.padEnd(width)}  ${cells.join(' ')}`;
  });
  const legend = ['yes: allowed', '-: denied', '.: itself, or nothing for a policy to say'];
  if (flows.some((one) => one.verdict === 'no-such-port')) legend.push('?: no port of that name');
  return [`${protocol} ${port}: rows call columns`, head, ...rows, legend.join('; ')].join('\n');
}

export function matrixCsv({ protocol, flows }: Matrix): string {
  const rows = flows.map(({ from, to, port, verdict, reason }) =>
    [from, to, protocol, port === undefined ? '' : String(port), verdict, reason].map(csvField).join(','),
  );
  return ['from,to,protocol,port,verdict,reason', ...rows].join('\n');
}

/** A Mermaid flow chart of what is allowed. */
export function matrixMermaid({ ends, flows }: Matrix): string {
  const id = new Map(ends.map(({ name }, index) => [name, `n${index}`]));
  const nodes = ends.map(({ name }) => `  ${id.get(name)}["${name.replaceAll('"', "'")}"]`);
  return [
    'flowchart LR',
    ...nodes,
    ...edges(flows, (from, to) => `  ${id.get(from)} --> ${id.get(to)}`),
  ].join('\n');
}

/** A Graphviz digraph of what is allowed. */
export function matrixDot({ ends, flows, port, protocol }: Matrix): string {
  const nodes = ends.map(({ name }) => `  ${JSON.stringify(name)};`);
  const lines = edges(flows, (from, to) => `  ${JSON.stringify(from)} -> ${JSON.stringify(to)};`);
  return [
    `digraph ${JSON.stringify(`${protocol} ${port}`)} {`,
    '  rankdir=LR;',
    ...nodes,
    ...lines,
    '}',
  ].join('\n');
}

function edges(flows: readonly MatrixFlow[], line: (from: string, to: string) => string): string[] {
  return [...new Set(flows.filter((one) => one.verdict === 'allow').map((one) => line(one.from, one.to)))];
}

// A cell that begins like a formula would be run by a spreadsheet.
function csvField(text: string): string {
  const safe = /^[=+@\t\r]|^-./.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
