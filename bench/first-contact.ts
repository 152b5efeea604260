/**
 * What first contacts cost two sidecars, by thread and in both modes, beside HAProxy with mutual TLS and, asked to, beside another checkout or other flags of
 * Node.js; all interleaved, in one place, as root:
 *
 *     node bench/first-contact.ts [--rounds 5] [--seconds 1] [--modes redirect,nfqueue] [--against FOLDER] [--flags=--FLAG,--FLAG] [--haproxy] [--profiles FOLDER]
 *
 * FOLDER holds `bundle/` and `native/build/` (make setup bundle). Every connection is a first contact, since the sidecars run with `bench/forgetful.ts`; the sample fails
 * when one was not. For each variant medians over the rounds of microseconds of CPU per connection with 32 at once: of both proxies, of their data threads, of the
 * threads that run TypeScript, of those that compile and collect for these. Then the same of one connection at a time, rate with 32 at once, and
 * median of one at a time.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { amount, count, flagsOf, someOf, text, yes } from './flags.ts';
import { type LoadOrder, runLoad } from './load-program.ts';
import { Place } from './place.ts';
import { plainVariants } from './plain-variants.ts';
import { inTurn } from './plan.ts';
import { prove } from './prove.ts';
import { betweenTwoPods, POLICIES } from './sidecar-variants.ts';
import { Sidecars } from './sidecars.ts';
import { digits, spreadOf, spreadText } from './statistics.ts';
import { threadUse, type ThreadUse } from './thread-use.ts';
import type { Variant } from './variant.ts';

const asked = flagsOf('bench/first-contact.ts', 'What first contacts cost two sidecars, by thread (root).', {
  rounds: count('how often each is measured', 5),
  seconds: amount('of each sample', 1),
  modes: someOf('which are measured', ['redirect', 'nfqueue']),
  against: text('another checkout, with bundle/ and native/build/ (make setup bundle)', 'FOLDER'),
  flags: text('flags of Node.js for sidecars to compare with', '--FLAG,--FLAG'),
  haproxy: yes('beside HAProxy with mutual TLS'),
  profiles: text('where profiles of the sidecars go', 'FOLDER'),
});
/** Time for what a load leaves behind to be done with. */
const SETTLE_MS = 50;
const { seconds } = asked;

type Measured = {
  readonly variant: Variant;
  readonly sidecars: Sidecars | undefined;
  readonly base?: string;
};
type Figure = 'cpu' | 'data' | 'main' | 'rest' | 'cpu alone' | 'main alone' | 'rate' | 'p50';
type Row = Readonly<Record<Figure, number>>;

const place = new Place();
process.once('SIGINT', () => {
  place.close();
  process.exit(130);
});
try {
  execFileSync(process.execPath, [join(import.meta.dirname, '../tools/bundle.ts')], { stdio: 'ignore' });
  const complain = (variant: string, error: unknown): void => {
    throw new Error(`${variant}: ${String(error)}`);
  };
  const plain = await plainVariants(place, (id) => asked.haproxy && id === 'haproxy-mtls-full', complain);
  place.cluster.write('policies.yaml', POLICIES);
  const all: Measured[] = plain.map((variant) => ({ variant, sidecars: undefined }));
  const builds = buildsToCompare();
  for (const mode of asked.modes) all.push(...(await variantsOf(mode, builds)));
  const rows = new Map<string, Row[]>(all.map(({ variant }) => [variant.id, []]));
  // The first round is for machine code, and is not shown.
  for (let round = -1; round < asked.rounds; round++) {
    for (const one of inTurn(all, round + 1)) {
      const row = await measure(one);
      if (round >= 0) rows.get(one.variant.id)!.push(row);
    }
  }
  for (const one of all) tell(one, rows);
  for (const { variant, sidecars } of all) {
    for (const pod of [variant.client, ...variant.servers]) await sidecars?.stop(pod, 'SIGTERM');
  }
} finally {
  place.close();
}

/** The pair of this mode, and those that it is compared with. */
async function variantsOf(mode: string, builds: ReadonlyMap<string, Sidecars>): Promise<Measured[]> {
  if (mode !== 'redirect' && mode !== 'nfqueue') throw new Error(`--modes: ${mode} is none`);
  const made: Measured[] = [];
  for (const [name, sidecars] of builds) {
    const id = name === '' ? mode : `${mode}-${name}`;
    const kind = { id, title: id, mode: { carrier: mode, forgetful: true } } as const;
    const variant = await betweenTwoPods(place, sidecars, kind);
    made.push({ variant, sidecars, ...(name !== '' && { base: mode }) });
  }
  return made;
}

/** What is compared: one of each for both modes, since a program is not copied over while it runs. */
function buildsToCompare(): Map<string, Sidecars> {
  const profiled = profilerFlags();
  const made = new Map([['', new Sidecars(place, 'bundle', undefined, undefined, profiled)]]);
  if (asked.against !== undefined)
    made.set('other', new Sidecars(place, 'bundle', asked.against, undefined, profiled));
  if (asked.flags !== undefined)
    made.set('flags', new Sidecars(place, 'bundle', undefined, undefined, asked.flags.split(',')));
  return made;
}

function profilerFlags(): string[] {
  if (asked.profiles === undefined) return [];
  mkdirSync(asked.profiles, { recursive: true });
  chmodSync(asked.profiles, 0o777);
  return ['--cpu-prof', `--cpu-prof-dir=${asked.profiles}`, '--cpu-prof-interval=200'];
}

async function measure({ variant, sidecars }: Measured): Promise<Row> {
  const ends = [variant.client, ...variant.servers];
  const before = await sidecars?.counts(ends);
  const [many, perMany] = await used(variant, { kind: 'rate', seconds, number: 32 });
  const [one, perOne] = await used(variant, { kind: 'connect', seconds: seconds / 2, number: 1_000_000 });
  if (sidecars !== undefined)
    await prove(sidecars, ends, before!, {
      connections: many.connections + one.connections,
      handshake: 'full',
    });
  return {
    cpu: perMany.data + perMany.main + perMany.rest,
    ...perMany,
    'cpu alone': perOne.data + perOne.main + perOne.rest,
    'main alone': perOne.main,
    rate: many.connections / many.seconds,
    p50: one.p50,
  };
}

/** Runs a load. @returns what it says, and what the proxies used for each of its connections */
async function used(variant: Variant, order: LoadOrder) {
  const start = variant.proxies.map(threadUse);
  const report = await runLoad(place.cluster.network, variant.client, place.load, variant.target, order);
  await sleep(SETTLE_MS);
  const end = variant.proxies.map(threadUse);
  const spent = (key: keyof ThreadUse): number =>
    end.reduce((sum, use, at) => sum + use[key] - start[at]![key], 0) / report.connections;
  return [report, { data: spent('data'), main: spent('main'), rest: spent('rest') }] as const;
}

function tell({ variant, base }: Measured, rows: ReadonlyMap<string, readonly Row[]>): void {
  const measured = rows.get(variant.id)!;
  const against = base === undefined ? undefined : rows.get(base)!;
  process.stdout.write(`${variant.id}\n`);
  for (const figure of Object.keys(measured[0]!) as Figure[]) {
    const spread = spreadText(spreadOf(measured.map((row) => row[figure]))!);
    const ratios = against && spreadOf(measured.map((row, at) => row[figure] / against[at]![figure]))!;
    const compared = ratios === undefined ? '' : `   ${digits(ratios.median)} x ${base}`;
    process.stdout.write(`  ${figure.padEnd(10)} ${spread}${compared}\n`);
  }
}
