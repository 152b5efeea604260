import { INJECT_LABEL, INJECTED_ANNOTATION } from '../inject/names.ts';
import { enrollingNamespaces, isLeaving, podName, sidecarOf, someOf } from './enrolled.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';
import type { Finding } from './finding.ts';
import { imageTag, minorsBetween, versionNumber } from './version-number.ts';

/** Pods that ask for a sidecar and have none, sidecars that are not ready or keep dying, and sidecars of other releases. */
export function checkSidecars(facts: ClusterFacts, settings: CheckSettings): Finding[] {
  const { pods } = facts;
  if (pods === undefined) return [];
  const check = 'sidecars';
  const enrolling = new Set(enrollingNamespaces(facts, { ...settings, enrolling: [] }));
  const asking = new Set(
    (facts.namespaces ?? [])
      .filter(({ metadata }) => metadata.labels?.[INJECT_LABEL] === 'true')
      .map(({ metadata }) => metadata.name),
  );
  const findings: Finding[] = [];
  const older = new Map<string, string[]>();
  let ready = 0;
  for (const pod of pods) {
    const place = pod.metadata?.namespace ?? '';
    if (isLeaving(pod) || !enrolling.has(place)) continue;
    const wish = pod.metadata?.labels?.[INJECT_LABEL] ?? (asking.has(place) ? 'true' : undefined);
    const sidecar = sidecarOf(pod);
    const object = podName(pod);
    if (sidecar === undefined) {
      if (wish === 'true' && pod.spec?.hostNetwork !== true)
        findings.push({
          level: 'error',
          check,
          object,
          text: 'it asks for a sidecar and has none: it proves nothing, and nothing is enforced at it',
          remedy: 'it was made before the label or the injector: kubectl rollout restart its workload',
        });
      continue;
    }
    const release = pod.metadata?.annotations?.[INJECTED_ANNOTATION] ?? imageTag(sidecar.image ?? '') ?? '';
    if (release !== '' && release !== settings.release)
      older.set(release, [...(older.get(release) ?? []), object.slice('pod/'.length)]);
    const status = [
      ...(pod.status?.initContainerStatuses ?? []),
      ...(pod.status?.containerStatuses ?? []),
    ].find(({ name }) => name === sidecar.name);
    if (status === undefined) continue;
    if (status.ready) ready++;
    else
      findings.push({
        level: pod.status?.phase === 'Running' ? 'error' : 'warning',
        check,
        object,
        text: `its sidecar is not ready${status.state?.waiting?.reason === undefined ? '' : ` (${status.state.waiting.reason})`}`,
        remedy: `countersign status ${object.slice('pod/'.length)}; kubectl -n ${place} logs ${pod.metadata?.name} -c ${sidecar.name}`,
      });
    if ((status.restartCount ?? 0) > 5)
      findings.push({
        level: 'warning',
        check,
        object,
        text: `its sidecar was restarted ${status.restartCount} times`,
        remedy: `kubectl -n ${place} logs ${pod.metadata?.name} -c ${sidecar.name} --previous`,
      });
  }
  for (const [release, names] of [...older].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const [theirs, ours] = [versionNumber(release), versionNumber(settings.release)];
    const skew =
      theirs === undefined || ours === undefined ? undefined : Math.abs(minorsBetween(theirs, ours));
    findings.push({
      level: skew !== undefined && skew <= 1 ? 'note' : 'warning',
      check: 'version',
      object: 'cluster',
      text: `${names.length} sidecar${names.length === 1 ? ' is' : 's are'} of release ${release}: ${someOf(names)}`,
      remedy: 'sidecars change with their pods: kubectl rollout restart their workloads',
    });
  }
  if (ready > 0)
    findings.push({
      level: 'ok',
      check,
      object: 'cluster',
      text: `${ready} sidecar${ready === 1 ? ' is' : 's are'} ready`,
    });
  return findings;
}
