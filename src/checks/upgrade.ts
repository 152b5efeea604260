import { INJECTED_ANNOTATION } from '../inject/names.ts';
import { AUTHORITY, INJECTOR } from '../install/options.ts';
import { printable } from '../lib/printable.ts';
import { isLeaving, sidecarOf } from './enrolled.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';
import type { Finding } from './finding.ts';
import { compareVersions, imageTag, minorsBetween, versionNumber } from './version-number.ts';

/** Which releases run in a cluster. */
export interface Releases {
  /** By Deployment; undefined: it is not there, or its image has no tag. */
  readonly controlPlane: Readonly<Record<string, string | undefined>>;
  /** Pods by the release of their sidecar, names as `shop/web-0`. */
  readonly sidecars: ReadonlyMap<string, readonly string[]>;
}

/** Reads which releases run from images and marks. */
export function releasesIn({ deployments, pods }: ClusterFacts): Releases {
  const controlPlane = Object.fromEntries(
    [AUTHORITY, INJECTOR].map((name) => {
      const found = deployments?.find(({ metadata }) => metadata.name === name);
      return [name, imageTag(found?.spec?.template?.spec?.containers?.[0]?.image ?? '')];
    }),
  );
  const sidecars = new Map<string, string[]>();
  for (const pod of pods ?? []) {
    const sidecar = sidecarOf(pod);
    if (sidecar === undefined || isLeaving(pod)) continue;
    const release =
      pod.metadata?.annotations?.[INJECTED_ANNOTATION] ?? imageTag(sidecar.image ?? '') ?? 'unknown';
    sidecars.set(release, [
      ...(sidecars.get(release) ?? []),
      `${pod.metadata?.namespace}/${pod.metadata?.name}`,
    ]);
  }
  return { controlPlane, sidecars };
}

/**
 * What stands between the cluster and this program's release, in the order in which to go on. The rule: everything that talks to each other is of one
 * minor release or of neighbouring ones, and the control plane goes first.
 */
export function checkUpgrade(facts: ClusterFacts, settings: CheckSettings): Finding[] {
  const { controlPlane, sidecars } = releasesIn(facts);
  const { release } = settings;
  const target = versionNumber(release);
  const findings: Finding[] = [];
  const check = 'upgrade';
  if (target === undefined) throw new Error(`${release} is no version`);
  let behind = false;
  for (const [name, tag] of Object.entries(controlPlane)) {
    const object = `deployment/${settings.namespace}/${name}`;
    const present = tag === undefined ? undefined : versionNumber(tag);
    if (present === undefined) {
      findings.push({
        level: 'warning',
        check,
        object,
        text:
          tag === undefined
            ? 'it is not there, or its image has no tag'
            : `its release cannot be read from the tag ${tag}`,
        remedy: 'countersign check says what is installed',
      });
      continue;
    }
    const steps = minorsBetween(target, present);
    if (steps > 1)
      findings.push({
        level: 'error',
        check,
        object,
        text: `it is ${tag}; from there to ${release} are ${steps > 100 ? 'other major releases' : `${steps} minor releases`}`,
        remedy: `upgrade one minor release at a time: ${present.major}.${present.minor + 1} is the next`,
      });
    else if (steps < 0)
      findings.push({
        level: steps < -1 ? 'error' : 'warning',
        check,
        object,
        text: `it is ${tag}, newer than this program (${release}): applying would be a rollback`,
        remedy: 'use the program of the newer release',
      });
    else if (compareVersions(target, present) !== 0) {
      behind = true;
      findings.push({
        level: 'note',
        check,
        object,
        text: `step 1: from ${tag} to ${release}`,
        remedy: 'countersign install ... | kubectl apply -f -',
      });
    } else findings.push({ level: 'ok', check, object, text: `it is ${tag} already` });
  }
  for (const [one, names] of [...sidecars].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (one === release) {
      findings.push({
        level: 'ok',
        check,
        object: 'cluster',
        text: `${names.length} sidecars are ${release}`,
      });
      continue;
    }
    const present = versionNumber(one);
    const steps = present === undefined ? undefined : minorsBetween(target, present);
    const workloads = names.length === 1 ? '1 pod' : `${names.length} pods`;
    const tooOld = steps === undefined || Math.abs(steps) > 1;
    findings.push({
      level: tooOld ? 'error' : 'note',
      check,
      object: 'cluster',
      text: tooOld
        ? `before anything: ${workloads} with sidecars of ${one} would not be understood by ${release}: ${names.join(', ')}`
        : `step ${behind ? 2 : 1}: restart ${workloads} with sidecars of ${one}, when it suits: ${names.join(', ')}`,
      remedy: tooOld
        ? 'restart these workloads first, with the present control plane'
        : 'kubectl rollout restart; they work with this release until then, and have to be done before the next one',
    });
  }
  return findings;
}

/** For people, a line for each part: what could not be seen or is not there says so. */
export function releasesText(facts: ClusterFacts): string {
  const { controlPlane, sidecars } = releasesIn(facts);
  const lines: [string, string][] = [
    ['Kubernetes', facts.version ?? 'not known'],
    ...Object.entries(controlPlane).map(([name, tag]): [string, string] => [
      name,
      tag ?? (facts.deployments === undefined ? 'could not be seen' : 'none, or an image without a tag'),
    ]),
    ...[...sidecars]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([release, pods]): [string, string] => ['sidecars', `${release} in ${pods.length} pods`]),
  ];
  if (sidecars.size === 0) lines.push(['sidecars', facts.pods === undefined ? 'could not be seen' : 'none']);
  return lines.map(([name, text]) => `${name.padEnd(24)}${printable(text, 300)}\n`).join('');
}
