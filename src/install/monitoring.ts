import { alertRules } from './alert-rules.ts';
import { type InstallObject, labelsOf, NAME } from './options.ts';

/** For the Prometheus operator: what to scrape (sidecars everywhere, authority, injector) and when to wake somebody. */
export function monitoringObjects(namespace: string, runbookUrl?: string): InstallObject[] {
  const labels = labelsOf(NAME);
  return [
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PodMonitor',
      metadata: { name: 'countersign-sidecars', namespace, labels },
      spec: {
        namespaceSelector: { any: true },
        selector: { matchLabels: { 'countersign.io/inject': 'true' } },
        podMetricsEndpoints: [{ port: 'countersign', interval: '30s' }],
      },
    },
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PodMonitor',
      metadata: { name: 'countersign-control-plane', namespace, labels },
      spec: {
        selector: { matchLabels: { 'app.kubernetes.io/part-of': NAME } },
        podMetricsEndpoints: [{ port: 'metrics', interval: '30s' }],
      },
    },
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PrometheusRule',
      metadata: { name: NAME, namespace, labels },
      spec: { groups: [{ name: NAME, rules: alertRules(runbookUrl) }] },
    },
  ];
}
