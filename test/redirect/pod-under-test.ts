import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type Ran, TestNetwork } from '../support/netns.ts';
import { Caller, CALLING_PROGRAM } from './caller.ts';

const ROOT = join(import.meta.dirname, '../..');
const NODE = process.execPath;
export const PROXY_UID = 14_014;

/**
 * Callers from these ports the stand-in for the proxy resets, as the proxy does with calls that it refuses. The kernel gives none of them to a
 * caller that asks for no port (`net.ipv4.ip_local_port_range` begins at 32,768).
 */
export const RESET_PORTS = { first: 20_000, last: 20_099 } as const;

/** Stands in for the proxy: says on which of its ports somebody came. Runs as the proxy's user. */
const PROXY = `
for (const port of [14001, 14006, 14020]) for (const host of port === 14001 ? ['127.0.0.1', '::1'] : ['0.0.0.0', '::'])
  require('net').createServer((s) => { s.on('error', () => {});
    if (s.remotePort >= ${RESET_PORTS.first} && s.remotePort <= ${RESET_PORTS.last}) s.resetAndDestroy();
    else s.end('at ' + port); }).listen({ port, host, ipv6Only: true });
setTimeout(() => console.log('up'), 50);`;

/** How long something is waited for that must not come. What must come has {@link PATIENCE_MS}. */
export const SILENCE_MS = 1_000;
const PATIENCE_MS = 20_000;

/** The tools by which rules can be set: the two variants of iptables live in different parts of the kernel. */
export const TOOLS = ['nft', 'iptables', 'iptables-legacy'].filter((tool) => {
  try {
    execFileSync(tool, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
});

/** Which end of the connection to stand at, and how. */
export interface Call {
  readonly from: 'pod' | 'far';
  readonly to: string;
  readonly port: number;
  readonly localPort?: number;
  readonly uid?: number;
  /** {@link SILENCE_MS} where nothing is to be heard; by default so long that a busy machine comes to it, too. */
  readonly timeoutMs?: number;
}

/**
 * A pod with stand-ins for proxy and application (8080), and a host far away that answers `far` on 8080. There are no rules in either until
 * somebody sets them, so that nothing is tracked.
 */
export class PodUnderTest {
  readonly network: TestNetwork;
  readonly pod: { readonly four: string; readonly six: string };
  readonly far: { readonly four: string; readonly six: string };
  readonly #tool: string;
  readonly #path: string;
  readonly #callers = new Map<string, Caller>();

  constructor(t: Test, tool: string) {
    this.network = new TestNetwork(t);
    this.pod = this.network.host('pod');
    this.far = this.network.host('far');
    this.#tool = tool;
    this.#path = toolPath(t, tool);
  }

  async start(): Promise<void> {
    await this.program('pod', PROXY, PROXY_UID);
    await this.listen('pod', 8080, 'application');
    await this.listen('far', 8080, 'far');
  }

  /** Runs `countersign redirect` in the pod. */
  redirect(...words: string[]): Promise<Ran> {
    return this.redirectAs([], ...words);
  }

  /** The same behind another program, which may take privileges away. */
  redirectAs(wrapper: readonly string[], ...words: string[]): Promise<Ran> {
    const command = [join(ROOT, 'bin/countersign'), 'redirect', ...words, '--backend', this.backend];
    return this.network.run('pod', [...wrapper, 'env', `PATH=${this.#path}`, ...command], {
      timeoutMs: 60_000,
    });
  }

  get backend(): string {
    return this.#tool === 'nft' ? 'nft' : 'iptables';
  }

  /** Runs a shell command in the pod, with the same iptables. */
  async shell(script: string): Promise<string> {
    const command = ['env', `PATH=${this.#path}`, 'sh', '-ec', script];
    const { status, out, complaint } = await this.network.run('pod', command, { timeoutMs: 60_000 });
    if (status !== 0) throw new Error(`${script}: ${complaint}`);
    return out;
  }

  /** All rules of all tools, without counters and comments. */
  async ruleset(): Promise<string> {
    const script = `nft list ruleset 2>/dev/null || true; iptables-save; ip6tables-save`;
    return (await this.shell(script))
      .split('\n')
      .filter((line) => !line.startsWith('#'))
      .map((line) => line.replace(/\[\d+:\d+\]/, '').replace(/counter packets \d+ bytes \d+ /, ''))
      .join('\n');
  }

  async program(host: string, source: string, uid?: number): Promise<ChildProcess> {
    const child = this.network.start(host, [NODE, '-e', source], uid);
    await new Promise((resolve) => child.stdout!.once('data', resolve));
    return child;
  }

  /** A server that says one word to everybody. */
  listen(host: string, port: number, word: string, uid?: number): Promise<ChildProcess> {
    return this.program(
      host,
      `require('net').createServer((s) => { s.on('error', () => {}); s.end('${word}'); }).listen(${port}, '::', () => console.log('up'));`,
      uid,
    );
  }

  /** What somebody who connects hears: a word, an error's code, or `silence`. */
  hear({ from, to, port, localPort, uid, timeoutMs = PATIENCE_MS }: Call): Promise<string> {
    const name = `${from} ${uid ?? 'root'}`;
    let caller = this.#callers.get(name);
    if (caller === undefined) {
      caller = new Caller(this.network.start(from, [NODE, '-e', CALLING_PROGRAM], uid));
      this.#callers.set(name, caller);
    }
    return caller.call({ host: to, port, localPort, timeoutMs });
  }

  /** A connection that stays open and is written to; `said` collects what becomes of it, on both ends. */
  async hold(from: 'pod' | 'far', to: string, port: number): Promise<{ readonly said: string[] }> {
    const said: string[] = [];
    const at = from === 'pod' ? 'far' : 'pod';
    const server = await this.program(
      at,
      `require('net').createServer((s) => { s.on('error', (e) => console.log('server ' + e.code)).on('data', (d) => console.log('server got ' + d)); })
         .listen(${port}, '::', () => console.log('up'));`,
    );
    server.stdout!.on('data', (chunk: Buffer) => said.push(...String(chunk).trim().split('\n')));
    const client = await this.program(
      from,
      `const s = require('net').connect(${port}, '${to}', () => console.log('up')); let n = 0; s.setNoDelay();
       setInterval(() => s.write('x' + n++ + '\\n'), 100); s.on('error', (e) => { console.log('client ' + e.code); process.exit(); });`,
    );
    client.stdout!.on('data', (chunk: Buffer) => said.push(...String(chunk).trim().split('\n')));
    return { said };
  }

  /** What the live test says, with the proxy's user: `4outbound true`, and so on. */
  async probe(): Promise<string[]> {
    const source = `import { probeRedirect } from '${join(ROOT, 'src/redirect/probe.ts')}';
      console.log(JSON.stringify((await probeRedirect([4, 6])).map((r) => [r.family + r.direction, r.inForce].join(' '))));`;
    const { out, complaint } = await this.network.run('pod', [
      'setpriv',
      `--reuid=${PROXY_UID}`,
      '--clear-groups',
      '--bounding-set=-all',
      '--inh-caps=-all',
      NODE,
      '--input-type=module',
      '-e',
      source,
    ]);
    if (out === '') throw new Error(complaint);
    return JSON.parse(out) as string[];
  }
}

/** A search path on which `iptables` is the wanted variant, and the only one that works. */
export function toolPath(t: Test, tool: string): string {
  const path = '/usr/sbin:/usr/bin:/sbin:/bin';
  if (tool === 'nft') return path;
  const folder = mkdtempSync(join(tmpdir(), 'countersign-tools-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const name of ['iptables', 'ip6tables']) {
    for (const part of ['', '-save', '-restore']) {
      if (tool === 'iptables') {
        writeFileSync(join(folder, `${name}-legacy${part}`), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
        continue;
      }
      const target = execFileSync('sh', ['-c', `command -v ${name}-legacy${part}`], { encoding: 'utf8' });
      symlinkSync(target.trim(), join(folder, `${name}${part}`));
    }
  }
  return `${folder}:${path}`;
}
