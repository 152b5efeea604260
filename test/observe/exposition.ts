/** One sample of the Prometheus text format. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Reads the Prometheus text format 0.0.4, strictly: throws at a line that is none, and at a sample without HELP and TYPE. */
export function parseExposition(text: string): Sample[] {
  const described = new Map<string, string>();
  const samples: Sample[] = [];
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) described.set(type[1]!, type[2]!);
    if (line === '' || line.startsWith('# HELP ') || type !== null) continue;
    const sample = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null) throw new Error(`no sample: ${line}`);
    const [, name = '', inner = '', value = ''] = sample;
    const family = name.replace(/_(bucket|sum|count)$/, '');
    if (!described.has(name) && described.get(family) !== 'histogram') throw new Error(`no TYPE: ${line}`);
    const labels = Object.fromEntries(
      [...inner.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)/g)].map(([, key, text]) => [key!, text!]),
    );
    samples.push({
      name,
      labels,
      value: value.toLowerCase() === 'nan' ? Number.NaN : Number(value.replace('+Inf', 'Infinity')),
    });
  }
  return samples;
}
