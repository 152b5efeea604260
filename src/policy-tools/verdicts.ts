import { messageOf } from '../errors.ts';
import { canonicalAddress } from '../lib/address.ts';
import { Judge, type Party } from '../policy/judge.ts';
import type { Protocol } from '../policy/model.ts';
import { type Answers, Ends } from '../workloads/ends.ts';
import { refusalText, takeInventory } from '../workloads/inventory.ts';

/** What a line of `policy verdicts` is answered with. */
export type VerdictsAnswer =
  | {
      readonly verdicts: readonly ('allow' | 'deny')[];
      /** Objects that the API server would refuse: they do not count. */
      readonly refused: readonly string[];
      /** Probes that could not be asked: their verdict is deny. Only there when there is one. */
      readonly errors?: readonly string[];
    }
  | { readonly error: string };

/** Answers one line of `policy verdicts`: a JSON object with manifests and probes. Never throws. */
export function answerLine(line: string): VerdictsAnswer {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { error: `the line is no JSON: ${messageOf(error).slice(0, 200)}` };
  }
  return answerCase(value);
}

function answerCase(value: unknown): VerdictsAnswer {
  if (!isObject(value)) return { error: 'the line must be a JSON object with manifests and probes' };
  const { manifests, probes } = value;
  if (!Array.isArray(manifests)) return { error: 'manifests must be a list of objects' };
  if (!Array.isArray(probes)) return { error: 'probes must be a list' };
  const dns = value['dns'] ?? {};
  if (!isObject(dns) || !Object.values(dns).every(isListOfTexts))
    return { error: 'dns must be an object whose values are lists of addresses' };
  const inventory = takeInventory(manifests.map((one: unknown) => ({ value: one })));
  const ends = new Ends(inventory);
  const judge = new Judge(inventory.policies, inventory.clusterPolicies);
  const errors: string[] = [];
  const verdicts = probes.map((probe: unknown, index) => {
    const verdict = verdictOf(probe, ends, judge, dns as Answers);
    if (verdict === 'allow' || verdict === 'deny') return verdict;
    errors.push(`probes[${index}]${verdict.error}`);
    return 'deny';
  });
  const refused = inventory.refused.map(refusalText);
  return errors.length === 0 ? { verdicts, refused } : { verdicts, refused, errors };
}

function verdictOf(
  probe: unknown,
  ends: Ends,
  judge: Judge,
  dns: Answers,
): 'allow' | 'deny' | { readonly error: string } {
  if (!isObject(probe)) return { error: ' must be an object with from, to, port and protocol' };
  const { port, protocol = 'TCP' } = probe;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535)
    return { error: '.port must be a number from 1 to 65535' };
  if (!isProtocol(protocol)) return { error: '.protocol must be one of TCP, UDP, SCTP' };
  const from = sourceOf(probe['from'], ends);
  if (typeof from === 'string') return { error: `.from ${from}` };
  const targets = targetsOf(probe['to'], ends, dns);
  if (typeof targets === 'string') return { error: `.to ${targets}` };
  // A name may stand for several addresses, and the caller may meet any of them.
  for (const { to, names } of targets) {
    if (judge.verdict({ from, to, protocol, port, names }) === 'deny') return 'deny';
  }
  return 'allow';
}

function sourceOf(text: unknown, ends: Ends): Party | string {
  if (typeof text !== 'string') return 'must be a text: namespace/pod or ip:ADDRESS';
  if (text.startsWith('ip:')) return ends.address(text.slice(3)) ?? `${shown(text)} is no IP address`;
  if (text.startsWith('fqdn:')) return 'cannot be a DNS name: only destinations can';
  return ends.named(text) ?? `${shown(text)} is no pod among the manifests that count`;
}

/** One of the things that a destination may be, and the DNS names that it has. */
interface Target {
  readonly to: Party;
  readonly names: readonly string[];
}

function targetsOf(text: unknown, ends: Ends, dns: Answers): readonly Target[] | string {
  if (typeof text !== 'string' || !text.startsWith('fqdn:')) {
    const to = sourceOf(text, ends);
    if (typeof to === 'string') return to;
    return [{ to, names: namesOf(to.kind === 'pod' ? to.addresses : [to.address], dns) }];
  }
  const name = text.slice('fqdn:'.length);
  const addresses = Object.hasOwn(dns, name) ? dns[name]! : [];
  // Nobody has asked DNS for it: it has its name, and an address that is not known.
  if (addresses.length === 0) return [{ to: { kind: 'address', address: '' }, names: [name] }];
  const targets: Target[] = [];
  for (const address of addresses) {
    const to = ends.address(address);
    if (to === undefined)
      return `${shown(text)} has the DNS answer ${shown(address)}, which is no IP address`;
    targets.push({ to, names: [name, ...namesOf([canonicalAddress(address)!], dns)] });
  }
  return targets;
}

function namesOf(addresses: readonly string[], dns: Answers): string[] {
  return Object.keys(dns).filter((name) =>
    dns[name]!.some((one) => addresses.includes(canonicalAddress(one) ?? '?')),
  );
}

function isProtocol(value: unknown): value is Protocol {
  return value === 'TCP' || value === 'UDP' || value === 'SCTP';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isListOfTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 120));
}
