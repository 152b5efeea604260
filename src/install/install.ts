import { controlPlaneObjects } from './control-plane.ts';
import { monitoringObjects } from './monitoring.ts';
import { networkPolicyObjects } from './network-policies.ts';
import { checkInstall, type InstallObject, type InstallOptions, labelsOf } from './options.ts';
import { accessObjects } from './rbac.ts';
import { webhookObjects } from './webhooks.ts';

/**
 * All objects of an installation, in the order in which they can be applied. Deterministic, and without a secret: keys and certificates are made in
 * the cluster by the first replica, and applying this again does not touch them.
 *
 * @throws UserError naming the flag that is wrong
 */
export function installObjects(options: InstallOptions): InstallObject[] {
  checkInstall(options);
  const { namespace, sidecars } = options;
  return [
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name: namespace,
        labels: { ...labelsOf('countersign'), 'pod-security.kubernetes.io/enforce': 'restricted' },
      },
    },
    ...accessObjects(namespace, sidecars.caConfigMap),
    ...controlPlaneObjects(options),
    ...networkPolicyObjects(namespace),
    ...webhookObjects(namespace, sidecars.caConfigMap),
    ...(options.monitoring ? monitoringObjects(namespace, options.runbookUrl) : []),
  ];
}
