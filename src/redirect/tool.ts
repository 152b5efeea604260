import { spawn } from 'node:child_process';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { remedyFor } from './plan-complaint.ts';

const TIMEOUT_MS = 20_000;

/**
 * Runs nft or a program of iptables to its end, in the C locale.
 * @returns what it wrote to standard output
 * @throws UserError with what it wrote to standard error, and a remedy where one is known
 */
export function runTool(command: readonly string[], input = ''): Promise<string> {
  const [program = '', ...rest] = command;
  return new Promise((resolve, reject) => {
    const fail = (what: string): void => {
      reject(new UserError(`${program}: ${what}`, { exitCode: EXIT.failure }));
    };
    const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
    let [out, complaint] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    child.stdin.on('error', () => {});
    child.on('error', (error) => fail(`cannot be run: ${messageOf(error)}`));
    child.on('close', (status, signal) => {
      if (status === 0) return resolve(out);
      const said = complaint.trim().split('\n').slice(0, 4).join('; ');
      const remedy = remedyFor(complaint);
      return fail(`${said || `ended with ${signal ?? status}`}${remedy === '' ? '' : ` (${remedy})`}`);
    });
    child.stdin.end(input);
  });
}
