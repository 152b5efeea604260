import type { ClusterFacts } from './facts.ts';
import type { Finding } from './finding.ts';

/** Before an installation: what the API server says to a pod with a sidecar, which it was told not to keep. */
export function checkWholePods({ dryRuns }: ClusterFacts): Finding[] {
  return dryRuns.map(({ namespace, outcome, message }) =>
    outcome === 'refused'
      ? {
          level: 'error',
          check: 'trial',
          object: `namespace/${namespace}`,
          text: `the API server would refuse an injected pod there: ${message}`,
          remedy: 'what it names is in the way: Pod Security, a quota, or another admission webhook',
        }
      : {
          level: 'ok',
          check: 'trial',
          object: `namespace/${namespace}`,
          text: 'the API server would take an injected pod there (dry run)',
        },
  );
}

/** After an installation: whether a pod that asks for a sidecar gets one, all the way through the API server and the injector. */
export function checkInjection({ dryRuns }: ClusterFacts): Finding[] {
  return dryRuns.map(({ namespace, outcome, message }) => {
    const object = `namespace/${namespace}`;
    const check = 'injection';
    switch (outcome) {
      case 'injected':
        return { level: 'ok', check, object, text: 'a pod that asks for a sidecar gets one (dry run)' };
      case 'not-injected':
        return {
          level: 'error',
          check,
          object,
          text: 'a pod that asks for a sidecar gets none (dry run): the API server does not ask the injector',
          remedy:
            'look at mutatingwebhookconfiguration/countersign; countersign install | kubectl apply -f -',
        };
      case 'refused':
        return {
          level: 'error',
          check,
          object,
          text: `a pod that asks for a sidecar is refused (dry run): ${message}`,
          remedy: /webhook/.test(message)
            ? 'the API server has to reach TCP 14444 of the injector’s pods: a firewall, a security group or a NetworkPolicy is between them, or no replica is ready'
            : 'what it names is in the way: Pod Security, a quota, or another admission webhook',
        };
    }
  });
}
