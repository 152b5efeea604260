/** One sample of the Prometheus text format. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** As many as one sidecar ever has, and ten times more; what follows is left out. */
const MOST = 30_000;
const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?/g;

/** Reads what `/metrics` answers (text format 0.0.4). Lines that are none are passed over: another release may say more. */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const match = LINE.exec(line);
    if (match === null) continue;
    const [, name = '', list = '', number = ''] = match;
    const value = number === '+Inf' ? Infinity : number === '-Inf' ? -Infinity : Number(number);
    const labels = Object.fromEntries(
      [...list.matchAll(LABEL)].map(([, key = '', quoted = '']) => [key, unescaped(quoted)]),
    );
    samples.push({ name, labels, value });
    if (samples.length >= MOST) break;
  }
  return samples;
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character));
}
