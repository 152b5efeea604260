import { INJECT_LABEL, INJECTED_ANNOTATION } from '../inject/names.ts';
import type { Pod } from '../inject/pod.ts';
import { printable } from '../lib/printable.ts';
import type { Sample } from '../observe/metrics-text.ts';
import { sidecarOf } from './enrolled.ts';

/** A sidecar as the cluster and its own health endpoints tell it. Numbers are NaN, texts undefined, where nobody said. */
export interface PodStatus {
  readonly pod: string;
  readonly node: string | undefined;
  readonly phase: string | undefined;
  /** `none`: the pod has no sidecar. */
  readonly sidecar: 'none' | 'ready' | 'not ready' | 'unreachable';
  /** What /readyz says is missing, or why it could not be asked. */
  readonly problem: string | undefined;
  readonly image: string | undefined;
  readonly release: string | undefined;
  readonly restarts: number;
  readonly mode: 'audit' | 'enforce' | undefined;
  /** Seconds; negative: it has ended. */
  readonly identityEndsIn: number;
  readonly policyAge: number;
  readonly openConnections: number;
  /** Since the sidecar started, by verdict. */
  readonly verdicts: Readonly<Record<string, number>>;
  /** Denials by reason, most first. */
  readonly denials: readonly { readonly reason: string; readonly count: number }[];
  /** `ipv4 inbound`, for those that are not in force. */
  readonly redirectionLost: readonly string[];
}

/** What a sidecar answered on its health port; undefined and a reason where it could not be asked. */
export interface Answered {
  readonly ready: { readonly status: number; readonly text: string } | undefined;
  readonly samples: readonly Sample[];
  readonly unreachable: string | undefined;
}

/** Puts together what is known of one pod's sidecar. Pure; `now` in milliseconds since the epoch. */
export function podStatus(pod: Pod, { ready, samples, unreachable }: Answered, now: number): PodStatus {
  const sidecar = sidecarOf(pod);
  const status = [
    ...(pod.status?.initContainerStatuses ?? []),
    ...(pod.status?.containerStatuses ?? []),
  ].find(({ name }) => name === sidecar?.name);
  const value = (name: string): number => samples.find((one) => one.name === name)?.value ?? Number.NaN;
  const sum = (name: string): number =>
    samples.filter((one) => one.name === name).reduce((total, one) => total + one.value, 0);
  const verdicts: Record<string, number> = {};
  const reasons = new Map<string, number>();
  for (const { name, labels, value: count } of samples) {
    if (name !== 'countersign_connections_total') continue;
    const { verdict = '', reason = '' } = labels;
    verdicts[verdict] = (verdicts[verdict] ?? 0) + count;
    if (verdict !== 'allow') reasons.set(reason, (reasons.get(reason) ?? 0) + count);
  }
  const expiry = value('countersign_identity_expiry_timestamp_seconds');
  const audit = value('countersign_audit_mode');
  return {
    pod: `${pod.metadata?.namespace}/${pod.metadata?.name}`,
    node: pod.spec?.nodeName,
    phase: pod.status?.phase,
    sidecar:
      sidecar === undefined
        ? 'none'
        : ready === undefined
          ? 'unreachable'
          : ready.status === 200
            ? 'ready'
            : 'not ready',
    problem:
      sidecar === undefined
        ? pod.metadata?.labels?.[INJECT_LABEL] === 'true'
          ? 'it asks for a sidecar and has none: recreate it'
          : undefined
        : (unreachable ??
          (ready?.status === 200 ? undefined : ready?.text.trim().replaceAll('\n', '; ').slice(0, 1_000))),
    image: sidecar?.image,
    release: pod.metadata?.annotations?.[INJECTED_ANNOTATION],
    restarts: status?.restartCount ?? 0,
    mode: Number.isNaN(audit) ? undefined : audit === 1 ? 'audit' : 'enforce',
    identityEndsIn: expiry > 0 ? expiry - now / 1000 : Number.NaN,
    policyAge: value('countersign_policy_age_seconds'),
    openConnections: samples.length === 0 ? Number.NaN : sum('countersign_open_connections'),
    verdicts,
    denials: [...reasons]
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => ({ reason, count }))
      .toSorted((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1)),
    redirectionLost: samples
      .filter(({ name, value: inForce }) => name === 'countersign_redirect_in_force' && inForce === 0)
      .map(({ labels }) => `${labels['family'] ?? '?'} ${labels['direction'] ?? '?'}`),
  };
}

/** For people, one fact a line. Every text in it may come from others. */
export function podStatusText(status: PodStatus): string {
  const lines: [string, string][] = [
    [
      'pod',
      `${status.pod}${status.node === undefined ? '' : ` on ${status.node}`}, ${status.phase ?? 'unknown'}`,
    ],
    ['sidecar', `${status.sidecar}${status.problem === undefined ? '' : `: ${status.problem}`}`],
  ];
  if (status.sidecar !== 'none') {
    lines.push(
      [
        'release',
        `${status.release ?? 'unknown'} (${status.image ?? 'no image'}), ${status.restarts} restarts`,
      ],
      ['mode', status.mode ?? 'not known'],
      ['identity', secondsText(status.identityEndsIn, 'ends in', 'none, or ended')],
      ['policy', secondsText(status.policyAge, 'taken', 'none yet', ' ago')],
      ['connections', Number.isNaN(status.openConnections) ? 'not known' : `${status.openConnections} open`],
      [
        'verdicts',
        Object.entries(status.verdicts)
          .map(([verdict, count]) => `${verdict} ${count}`)
          .join(', ') || 'none yet',
      ],
      ['denials', status.denials.map(({ reason, count }) => `${reason} ${count}`).join(', ') || 'none'],
      [
        'redirection',
        status.redirectionLost.length === 0
          ? 'no loss is known'
          : `NOT IN FORCE: ${status.redirectionLost.join(', ')}`,
      ],
    );
  }
  return lines.map(([name, text]) => `${name.padEnd(13)}${printable(text, 1_500)}\n`).join('');
}

function secondsText(seconds: number, before: string, otherwise: string, after = ''): string {
  if (Number.isNaN(seconds) || seconds < 0) return otherwise;
  const text =
    seconds < 120
      ? `${Math.round(seconds)} s`
      : seconds < 7_200
        ? `${Math.round(seconds / 60)} min`
        : `${(seconds / 3_600).toFixed(1)} h`;
  return `${before} ${text}${after}`;
}
