/**
 * Part of `make soak`: what pods of NFQUEUE mode and their neighbours say on the wire, looked at by another program than ours (root, tshark; half a minute).
 *
 * Streams between pods of both modes and pods without a sidecar, first and resumed, refused too, over both families, through devices that leave no
 * checksum to be done. tshark has to find every checksum right, identity where it belongs, and no byte of it on the way to or from a pod that has no
 * sidecar. Prints what it counted, as JSON; exit status 1 when anything is not so.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DIGEST_CLIENT, DIGEST_SERVER, type DigestOutcome } from '../test/support/digest-streams.ts';
import { ImpairedLink } from '../test/support/impaired-link.ts';
import { ALLOW_LABEL, Cluster } from '../test/support/sidecars.ts';
import { flagsOf } from './flags.ts';

flagsOf('bench/wire.ts', 'What pods say on the wire, looked at by tshark (root).', {});

const PORT = 8080;
const STREAMS = 20;
const MAGIC = '9c:43:54:53:47:4e:0d:0a';
const CHECKED = ['-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE'];
/** Who calls whom, and whether policy lets him. */
const CALLS = [
  { from: 'approved', to: 'server', allowed: true },
  { from: 'refused', to: 'server', allowed: false },
  { from: 'approved', to: 'redirecting', allowed: true },
  { from: 'redirecting', to: 'server', allowed: true },
  { from: 'approved', to: 'plain', allowed: true },
  { from: 'plain', to: 'server', allowed: false },
  { from: 'plain', to: 'open', allowed: true },
] as const;

const ends: (() => unknown)[] = [];
const close = (): void => ends.splice(0).forEach((end) => void end());
process.once('SIGINT', () => {
  close();
  process.exit(130);
});
const wrong: string[] = [];
try {
  await run();
} finally {
  close();
}
process.exit(wrong.length > 0 ? 1 : 0);

async function run(): Promise<void> {
  const cluster = new Cluster({ teardown: (end: () => unknown) => void ends.push(end) });
  cluster.pod('server', { labels: { app: 'server' }, mode: 'nfqueue' });
  cluster.pod('open', { mode: 'nfqueue' });
  cluster.pod('approved', { labels: { drinks: 'beer' }, mode: 'nfqueue' });
  cluster.pod('refused', { mode: 'nfqueue' });
  cluster.pod('redirecting', { labels: { drinks: 'beer' } });
  cluster.pod('plain', { sidecar: false });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  const pods = [...cluster.addresses.keys()];
  await cluster.startSidecars(...pods.filter((pod) => pod !== 'plain'));
  for (const pod of ['server', 'open', 'redirecting', 'plain']) await cluster.app(pod, DIGEST_SERVER(PORT));
  const at = (host: string) => ({ host, ...cluster.addresses.get(host)! });
  const found = [];
  for (const { from, to, allowed } of CALLS) {
    const link = await ImpairedLink.between(cluster.network, at(from), at(to), {});
    const file = join(cluster.folder, `${from}-${to}.pcap`);
    const capture = cluster.network.start(to, [
      'tcpdump',
      '--immediate-mode',
      '-U',
      '-s',
      '0',
      '-i',
      link.device,
      '-w',
      file,
    ]);
    await once(capture.stderr!, 'data');
    let right = 0;
    for (const host of [at(to).four, at(to).six]) {
      const { out } = await cluster.node(from, DIGEST_CLIENT(host, PORT, STREAMS, 2), 120_000);
      right += (JSON.parse(out) as DigestOutcome).right;
    }
    // What closes the last connection is on its way.
    await sleep(500);
    const ended = once(capture, 'close');
    capture.kill('SIGINT');
    await ended;
    await link.remove();
    const said = {
      packets: count(file, 'tcp'),
      wrongChecksums: count(file, 'tcp.checksum.status == "Bad" || ip.checksum.status == "Bad"'),
      frames: count(file, `tcp.payload contains ${MAGIC}`),
      right,
    };
    found.push({ from, to, ...said });
    const complain = (what: string): void => void wrong.push(`${from} to ${to}: ${what}`);
    if (said.packets < STREAMS) complain(`${said.packets} packets were captured`);
    if (said.wrongChecksums > 0) complain(`${said.wrongChecksums} checksums are wrong`);
    if (right !== (allowed ? 2 * STREAMS : 0)) complain(`${right} streams were right`);
    const isBare = from === 'plain' || to === 'plain';
    if (isBare ? said.frames > 0 : said.frames < STREAMS) complain(`${said.frames} packets bear identity`);
  }
  process.stdout.write(`${JSON.stringify({ found, wrong }, undefined, 1)}\n`);
}

/** Packets of a capture that tshark's filter holds for. */
function count(file: string, filter: string): number {
  const lines = execFileSync(
    'tshark',
    [...CHECKED, '-r', file, '-Y', filter, '-T', 'fields', '-e', 'frame.number'],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  return lines.split('\n').filter((line) => line !== '').length;
}
