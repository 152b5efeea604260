import { type Judgement, Judge, type Party, type Side } from '../policy/judge.ts';
import type { Inventory } from '../workloads/inventory.ts';
import { type EndGroup, endGroups } from './end-groups.ts';
import { allPolicies, type Mentions, mentionsOf } from './mentions.ts';
import { joinRanges, portRanges, type PortRange, rangesText } from './port-ranges.ts';

/** A flow that one state allows and the other does not. */
export interface FlowChange {
  readonly from: string;
  readonly to: string;
  readonly ports: readonly PortRange[];
  /** `TCP 5432, any UDP port`. */
  readonly portsText: string;
  /** The rule that allows it, or what denies it. */
  readonly reason: string;
  /** One of its ends is in one of the states only. */
  readonly endIsNew: boolean;
}

export interface ReachChanges {
  readonly opens: readonly FlowChange[];
  readonly closes: readonly FlowChange[];
  /** What was compared, for people. */
  readonly scope: string;
}

/** A state of the cluster, and how calls are judged in it. */
interface State {
  readonly judge: Judge;
  readonly index: number;
  /** Whether the caller's labels count at the called end. */
  readonly proves: (from: Party, to: Party) => boolean;
}

/** Which flows a change from one state to another opens and closes: all pairs of ends, on all ports. */
export function compareReach(before: Inventory, after: Inventory): ReachChanges {
  const groups = endGroups([before, after], { regions: true });
  const mentions = mentionsOf(allPolicies([before, after]));
  const ranges = portRanges(mentions, [...before.workloads, ...after.workloads]);
  const proves = (): boolean => true;
  const states: [State, State] = [
    { judge: new Judge(before.policies, before.clusterPolicies), index: 0, proves },
    { judge: new Judge(after.policies, after.clusterPolicies), index: 1, proves },
  ];
  return { ...changesBetween(groups, ranges, states), scope: scopeText(groups, ranges, mentions) };
}

/** Which flows would be refused if some workloads were enrolled and their peers were not: `closes` holds them. */
export function compareEnrolment(now: Inventory, enrolled: (party: Party) => boolean): ReachChanges {
  // Enrolled workloads and others are not alike, whatever the policies say.
  const groups = endGroups([now], { regions: true, apart: (party) => String(enrolled(party)) });
  const mentions = mentionsOf(now);
  const ranges = portRanges(mentions, now.workloads);
  const judge = new Judge(now.policies, now.clusterPolicies);
  const states: [State, State] = [
    { judge, index: 0, proves: () => true },
    { judge, index: 0, proves: (from, to) => !enrolled(to) || enrolled(from) },
  ];
  return { ...changesBetween(groups, ranges, states), scope: scopeText(groups, ranges, mentions) };
}

function changesBetween(
  groups: readonly EndGroup[],
  ranges: readonly PortRange[],
  [before, after]: [State, State],
): Pick<ReachChanges, 'opens' | 'closes'> {
  const opens: FlowChange[] = [];
  const closes: FlowChange[] = [];
  for (const source of groups) {
    for (const target of groups) {
      const old = pairOf(source, target, before.index);
      const next = pairOf(source, target, after.index);
      if (old === undefined && next === undefined) continue;
      const opened: PortRange[] = [];
      const closed: PortRange[] = [];
      for (const range of ranges) {
        const was = old !== undefined && allows(before, old, range);
        const is = next !== undefined && allows(after, next, range);
        if (is && !was) opened.push(range);
        if (was && !is) closed.push(range);
      }
      const endIsNew = old === undefined || next === undefined;
      const flow = (ports: PortRange[], state: State, pair: Pair | undefined): FlowChange => ({
        from: source.name,
        to: target.name,
        ports: joinRanges(ports),
        portsText: rangesText(ports),
        reason: pair === undefined ? 'an end of it is gone' : reasonText(state, pair, ports[0]!),
        endIsNew,
      });
      if (opened.length > 0) opens.push(flow(opened, after, next));
      if (closed.length > 0) closes.push(flow(closed, after, next));
    }
  }
  return { opens, closes };
}

type Pair = readonly [Party, Party];

/** Two ends of a call between groups; undefined when there is none, or nothing that a policy could say about it. */
export function pairOf(source: EndGroup, target: EndGroup, index: number): Pair | undefined {
  if (source.isAddress && target.isAddress) return undefined;
  const from = source.parties[index];
  const to = source === target ? source.others[index] : target.parties[index];
  if (from === undefined || to === undefined) return undefined;
  return from.kind === 'address' && to.kind === 'address' ? undefined : [from, to];
}

function allows({ judge, proves }: State, [from, to]: Pair, { protocol, first }: PortRange): boolean {
  return judge.verdict({ from, to, protocol, port: first, unproven: !proves(from, to) }) === 'allow';
}

function reasonText({ judge, proves }: State, [from, to]: Pair, { protocol, first }: PortRange): string {
  const judgement = judge.judge({ from, to, protocol, port: first, unproven: !proves(from, to) });
  return judgementText(judgement);
}

/** What decided, in a few words. */
export function judgementText({ verdict, egress, ingress }: Judgement): string {
  if (verdict === 'deny') {
    return [denialText('egress', egress), denialText('ingress', ingress)]
      .filter((one) => one !== '')
      .join('; ');
  }
  const rules = [allowText('egress', egress), allowText('ingress', ingress)].filter((one) => one !== '');
  return rules.length === 0 ? 'no policy isolates either end' : rules.join('; ');
}

function denialText(direction: string, side: Side): string {
  if (side.kind !== 'denied') return '';
  const { nearestMiss: miss, deniedBy } = side;
  if (deniedBy !== undefined) return `${direction}: ${deniedBy.policy} rule ${deniedBy.rule} denies it`;
  if (miss === undefined) return `${direction}: ${side.policies.join(', ')} allows nothing of it`;
  return `${direction}: rule ${miss.rule} of ${miss.policy} ${miss.text}`;
}

function allowText(direction: string, side: Side): string {
  return side.kind === 'allowed' ? `${direction}: ${side.policy} rule ${side.rule}` : '';
}

function scopeText(groups: readonly EndGroup[], ranges: readonly PortRange[], { domains }: Mentions): string {
  const pods = groups.filter((one) => !one.isAddress);
  const count = pods.reduce((sum, one) => sum + one.members.length, 0);
  return (
    `compared: ${count} pods or workloads (${pods.length} that policies tell apart), ` +
    `${groups.length - pods.length} addresses (one for each region of the ipBlocks), ` +
    `all ports of TCP, UDP and SCTP in ${ranges.length} ranges; not compared: ICMP, Service addresses${domains ? ', domain names' : ''}`
  );
}
