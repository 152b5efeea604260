/**
 * What first contacts cost two real sidecars, CPU microseconds of both together per connection with 32 at a time, and how long one takes
 * that comes alone (root):
 *
 *     node bench/first-contact.ts [--contacts 300] [--rounds 5] [--profiles FOLDER]
 *
 * Every connection is one, since the sidecars run with `bench/forgetful.ts`. The first 20 contacts, with code that was never run, are told apart;
 * the rest shows what a sidecar pays that has been there for a while. `resumed` is the same pair of namespaces with sidecars that remember.
 */
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Cluster, PROXY_UID } from '../test/support/sidecars.ts';
import type { Load } from './load.ts';

const { values } = parseArgs({
  options: {
    contacts: { type: 'string', default: '300' },
    rounds: { type: 'string', default: '5' },
    profiles: { type: 'string' },
  },
});
const contacts = Number(values.contacts);
const rounds = Number(values.rounds);

const SERVER = `
require('net').createServer((s) => { s.setNoDelay(true); s.on('error', () => {}); s.on('data', (d) => s.write(d)); })
  .listen({ port: 9000, host: '::', backlog: 4096 }, () => console.log('up'));`;

const ends: (() => void)[] = [];
const cluster = new Cluster({ teardown: (end: () => void) => ends.push(end) });
try {
  const address = cluster.pod('server').four;
  cluster.pod('client');
  await cluster.startSidecars('server', 'client');
  await cluster.app('server', SERVER);
  await measure('resumed', contacts);
  const forgetful = await Promise.all(['server', 'client'].map(restart));
  await measure('first contact, contacts 1 to 20', 20, 1, forgetful);
  await measure('first contact, later', contacts, rounds, forgetful);
  const counts = await cluster.counts('server');
  const full = counts['inbound allow not-isolated proven full'];
  if (full !== 2 * (20 + contacts * rounds))
    throw new Error(`not all were first contacts: ${JSON.stringify(counts)}`);
  for (const name of ['server', 'client']) await cluster.kill(name, 'SIGTERM');

  async function measure(what: string, count: number, times = rounds, pids = sidecars()): Promise<void> {
    const [all, main, delay]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < times; round++) {
      const before = cpuMicroseconds(pids);
      await run({ kind: 'rate', count, address });
      const after = cpuMicroseconds(pids);
      all.push((after.all - before.all) / count);
      main.push((after.main - before.main) / count);
      delay.push(1000 * (await run({ kind: 'connect', count, address })));
    }
    const cost = `CPU ${spread(all)} us, main threads ${spread(main)} us`;
    process.stdout.write(`${what.padEnd(34)} ${cost}, connect + 1 byte p50 ${spread(delay)} us\n`);
  }
} finally {
  for (const end of ends.toReversed()) end();
}

function sidecars(): number[] {
  return ['server', 'client'].map((name) => cluster.sidecarPid(name));
}

/** Ends a sidecar and starts it again as one that remembers nothing. @returns its process id */
async function restart(name: string): Promise<number> {
  await cluster.kill(name, 'SIGTERM');
  const { program, folder, manifests } = cluster;
  copyFileSync(join(import.meta.dirname, 'forgetful.ts'), join(program, 'forgetful.ts'));
  const profile: string[] = [];
  if (values.profiles !== undefined) {
    mkdirSync(values.profiles, { recursive: true });
    chmodSync(values.profiles, 0o777);
    profile.push('--cpu-prof', `--cpu-prof-dir=${values.profiles}`, `--cpu-prof-name=${name}.cpuprofile`);
    profile.push('--cpu-prof-interval=200');
  }
  const keys = join(folder, 'keys', name);
  const child = cluster.network.start(
    name,
    [
      ...[join(program, '.setup/node'), '--import', join(program, 'forgetful.ts'), ...profile],
      ...[join(program, 'src/main.ts'), 'proxy', '--manifests', manifests, '--pod', `demo/${name}`],
      ...['--token', join(keys, 'token.jwt'), '--key', join(keys, 'key.jwk')],
      ...['--trust', join(folder, 'trust/trust.jwks'), '--flow-log', join(folder, `${name}.flow`)],
    ],
    PROXY_UID,
  );
  child.stderr!.resume();
  child.stdout!.resume();
  cluster.adopt(name, child);
  await cluster.ready(name);
  return child.pid!;
}

async function run(load: Load): Promise<number> {
  const loader = join(import.meta.dirname, 'load.ts');
  const program = [join(cluster.program, '.setup/node'), loader, JSON.stringify(load)];
  const { status, out, complaint } = await cluster.network.run('client', program, { timeoutMs: 120_000 });
  if (status !== 0) throw new Error(complaint);
  return JSON.parse(out) as number;
}

/** Time on a processor, microseconds: of all threads, and of the main threads alone, which run the TypeScript. */
function cpuMicroseconds(pids: readonly number[]): { all: number; main: number } {
  const cpu = { all: 0, main: 0 };
  for (const pid of pids) {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const [onCpu] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ');
      cpu.all += Number(onCpu) / 1000;
      if (task === String(pid)) cpu.main += Number(onCpu) / 1000;
    }
  }
  return cpu;
}

function spread(samples: readonly number[]): string {
  const sorted = samples.toSorted((a, b) => a - b);
  const text = [sorted[sorted.length >> 1]!, sorted[0]!, sorted.at(-1)!].map((value) => value.toFixed(0));
  return `${text[0]} [${text[1]}..${text[2]}]`;
}
