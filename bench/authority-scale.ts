/**
 * `make bench-authority`: what an authority costs a cluster, measured on a real API server with simulated sidecars (docs/sizing.md says how). Flags:
 *
 *   --sidecars N --pods N --policies N --namespaces N   the size; 500, 2000, 300, 20
 *   --seconds N        length of each measurement; 12
 *   --out FILE         where the result goes as JSON (bench/results/authority-DATE.json)
 *   --write-docs       writes docs/sizing.md
 *   --from FILE        measures nothing: takes a result that is there
 *
 * Exit status: 0; 1 when a change did not reach a sidecar; 2 for wrong flags.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { EXIT, messageOf } from '../src/errors.ts';
import { KubeControlPlane } from '../test/support/kube-control-plane.ts';
import { machine, versions } from './machine.ts';
import { realPlace } from './scale/place.ts';
import { scaleReport, sizingPage } from './scale/report.ts';
import type { ScaleResult } from './scale/result.ts';
import { measureScale } from './scale/steps.ts';

const ROOT = join(import.meta.dirname, '..');
const flags = readFlags();
const result =
  flags.from === undefined ? await measure() : (JSON.parse(readFileSync(flags.from, 'utf8')) as ScaleResult);
process.stdout.write(`\n${scaleReport(result)}`);
if (flags.writeDocs) {
  writeFileSync(join(ROOT, 'docs/sizing.md'), sizingPage(result));
  process.stderr.write('docs/sizing.md is written\n');
}
process.exit(result.windows.some(({ missing }) => missing > 0) ? 1 : 0);

async function measure(): Promise<ScaleResult> {
  const ends: (() => Promise<void>)[] = [];
  const end = async (): Promise<void> => {
    for (const one of ends.splice(0)) await one();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void end().finally(() => process.exit(130)));
  }
  const began = performance.now();
  const { size, seconds } = flags;
  try {
    const tell = (progress: string): void => void process.stderr.write(`${progress}\n`);
    tell('starting etcd and kube-apiserver');
    const plane = await KubeControlPlane.start({
      teardown: (one) => void ends.push(async () => void (await one())),
    } as Parameters<typeof KubeControlPlane.start>[0]);
    const sidecars = [...new Set([10, 200, size.sidecars].map((count) => Math.min(count, size.sidecars)))];
    const firstPods = Math.min(100, size.pods);
    const steps = { size, firstPods, sidecars, seconds, perSecond: 10, tell };
    const { windows, held } = await measureScale(realPlace(plane), steps);
    const { gitVersion } = (await plane.client().get('/version')) as { gitVersion: string };
    const { Countersign = '', 'Node.js': node = '' } = versions();
    const found: ScaleResult = {
      format: 1,
      date: new Date().toISOString(),
      seconds: (performance.now() - began) / 1000,
      size,
      machine: machine(),
      versions: { Countersign, 'Node.js': node, Kubernetes: gitVersion },
      loadAverage: loadavg()[0]!,
      windows,
      held,
    };
    const file =
      flags.out ?? join(ROOT, 'bench/results', `authority-${found.date.replaceAll(/[:.]/g, '-')}.json`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(found, undefined, 1)}\n`);
    tell(`the result is in ${file}`);
    return found;
  } finally {
    await end();
  }
}

function readFlags() {
  try {
    const { values } = parseArgs({
      options: {
        sidecars: { type: 'string', default: '500' },
        pods: { type: 'string', default: '2000' },
        policies: { type: 'string', default: '300' },
        namespaces: { type: 'string', default: '20' },
        seconds: { type: 'string', default: '12' },
        out: { type: 'string' },
        from: { type: 'string' },
        'write-docs': { type: 'boolean', default: false },
      },
    });
    const whole = (
      name: 'sidecars' | 'pods' | 'policies' | 'namespaces' | 'seconds',
      most: number,
    ): number => {
      const text = values[name];
      const number = /^\d{1,6}$/.test(text) ? Number(text) : 0;
      if (number < 1 || number > most) throw new Error(`--${name} ${text}: write a number from 1 to ${most}`);
      return number;
    };
    const size = {
      sidecars: whole('sidecars', 10_000),
      pods: whole('pods', 60_000),
      policies: whole('policies', 20_000),
      namespaces: whole('namespaces', 1_000),
    };
    if (size.sidecars > size.pods) throw new Error('--sidecars: not more than --pods');
    if (size.policies < size.namespaces) throw new Error('--policies: at least one for each of --namespaces');
    const { out, from } = values;
    return { size, seconds: whole('seconds', 3_600), out, from, writeDocs: values['write-docs'] };
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    return process.exit(EXIT.usage);
  }
}
