import { spawn } from 'node:child_process';
import { messageOf, EXIT, UserError } from '../errors.ts';
import type { RedirectOptions } from './plan.ts';
import { CHAINS, iptablesPlan, iptablesRemoval } from './plan-iptables.ts';
import { NFT_TABLE, nftPlan, nftRemoval } from './plan-nft.ts';

export type BackendName = 'nft' | 'iptables';

/** Puts rules into the kernel, by one of the two tools that there are for it. */
export interface Backend {
  readonly name: BackendName;
  apply(options: RedirectOptions): Promise<void>;
  remove(): Promise<void>;
  /** What is in force, line by line, without counters; empty when nothing is. */
  read(): Promise<string[]>;
  /** What {@link read} would give if the rules were in force as planned. */
  expected(options: RedirectOptions): Promise<string[]>;
  /** The text of the rules. */
  print(options: RedirectOptions): string;
}

/** The tool to use: nft where it works, else iptables. */
export async function chooseBackend(wanted: BackendName | undefined): Promise<Backend> {
  const problems: string[] = [];
  for (const backend of [NFT, IPTABLES]) {
    if (wanted !== undefined && wanted !== backend.name) continue;
    try {
      await backend.read();
      return backend;
    } catch (error) {
      problems.push(`${backend.name}: ${messageOf(error)}`);
    }
  }
  throw new UserError(
    `no way to set netfilter rules here. ${problems.join('; ')}. It takes NET_ADMIN in this network namespace, and nftables or iptables`,
    { exitCode: EXIT.failure },
  );
}

export function printBackend(name: BackendName): Backend {
  return name === 'nft' ? NFT : IPTABLES;
}

/** In a network namespace of its own, which ends with the command. */
const ELSEWHERE = ['unshare', '--net'];

const NFT: Backend = {
  name: 'nft',
  apply: (options) => runTool(['nft', '-f', '-'], nftPlan(options)).then(() => undefined),
  remove: () => runTool(['nft', '-f', '-'], nftRemoval()).then(() => undefined),
  read: async () => nftLines(await runTool(['sh', '-c', nftListing()])),
  expected: async (options) => {
    const script = `nft -f - && ${nftListing()}`;
    return nftLines(await runTool([...ELSEWHERE, 'sh', '-c', script], nftPlan(options)));
  },
  print: nftPlan,
};

/** An absent table is an empty answer; anything else that goes wrong is an error. */
function nftListing(): string {
  return `if nft list tables | grep -qx 'table ${NFT_TABLE}'; then nft list table ${NFT_TABLE}; else nft list tables >/dev/null; fi`;
}

function nftLines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

const FAMILIES = [4, 6] as const;

const IPTABLES: Backend = {
  name: 'iptables',
  async apply(options) {
    for (const family of FAMILIES) {
      const { jumps } = await iptablesState(family);
      await runTool([`${tool(family)}-restore`, '--noflush'], iptablesPlan(family, options, jumps));
    }
  },
  async remove() {
    for (const family of FAMILIES) {
      const { jumps, chains } = await iptablesState(family);
      if (chains.size > 0) {
        await runTool([`${tool(family)}-restore`, '--noflush'], iptablesRemoval(jumps, chains));
      }
    }
  },
  async read() {
    const lines: string[] = [];
    for (const family of FAMILIES) lines.push(...ownLines(family, await runTool([`${tool(family)}-save`])));
    return lines;
  },
  async expected(options) {
    const lines: string[] = [];
    for (const family of FAMILIES) {
      const script = `${tool(family)}-restore --noflush && ${tool(family)}-save`;
      const plan = iptablesPlan(family, options, new Set());
      lines.push(...ownLines(family, await runTool([...ELSEWHERE, 'sh', '-c', script], plan)));
    }
    return lines;
  },
  print: (options) =>
    FAMILIES.map(
      (family) => `# ${tool(family)}-restore --noflush\n${iptablesPlan(family, options, new Set())}`,
    ).join(''),
};

function tool(family: 4 | 6): string {
  return family === 4 ? 'iptables' : 'ip6tables';
}

async function iptablesState(family: 4 | 6): Promise<{ jumps: Set<string>; chains: Set<string> }> {
  const text = await runTool([`${tool(family)}-save`]);
  const has = (pattern: (chain: string) => string): Set<string> =>
    new Set(CHAINS.filter(({ chain }) => text.includes(pattern(chain))).map(({ chain }) => chain));
  return { jumps: has((chain) => ` -j ${chain}\n`), chains: has((chain) => `:${chain} `) };
}

function ownLines(family: 4 | 6, text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.includes('COUNTERSIGN_'))
    .map((line) => `ipv${family} ${line.replace(/ \[\d+:\d+\]$/, '')}`);
}

/** Runs a tool; what it wrote to standard error is the error. */
function runTool(command: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), { stdio: ['pipe', 'pipe', 'pipe'] });
    let [out, complaint] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    child.stdin.on('error', () => {});
    child.on('error', (error) => {
      reject(new UserError(`${command[0]} cannot be run: ${messageOf(error)}`, { exitCode: EXIT.failure }));
    });
    child.on('close', (status) => {
      if (status === 0) resolve(out);
      else {
        const text = complaint.trim().split('\n').slice(0, 3).join('; ') || `exit status ${status}`;
        reject(new UserError(`${command.join(' ').slice(0, 60)}: ${text}`, { exitCode: EXIT.failure }));
      }
    });
    child.stdin.end(input);
  });
}
