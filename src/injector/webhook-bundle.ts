import type { ApiClient } from '../kube/api-client.ts';

interface WebhookConfiguration {
  readonly webhooks?: readonly {
    readonly name: string;
    readonly clientConfig: { readonly caBundle?: string };
  }[];
}

const BASE = '/apis/admissionregistration.k8s.io/v1';
export const WEBHOOK_KINDS = ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'] as const;

/**
 * Keeps the bundle by which the API server believes this webhook in its configurations. Replicas write the same, so whoever comes first is right;
 * an entry that another replica or a person changed meanwhile fails the patch's test and is looked at again the next time.
 *
 * @param name of both configurations
 * @param bundle certificates, PEM
 * @returns how many entries were changed
 */
export async function patchWebhookBundle(client: ApiClient, name: string, bundle: string): Promise<number> {
  const caBundle = Buffer.from(bundle).toString('base64');
  let changed = 0;
  for (const kind of WEBHOOK_KINDS) {
    const path = `${BASE}/${kind}/${name}`;
    const { webhooks = [] } = (await client.get(path)) as WebhookConfiguration;
    const operations = webhooks.flatMap((webhook, index) =>
      webhook.clientConfig.caBundle === caBundle
        ? []
        : [
            { op: 'test', path: `/webhooks/${index}/name`, value: webhook.name },
            { op: 'add', path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle },
          ],
    );
    if (operations.length === 0) continue;
    await client.request('PATCH', path, { body: operations, contentType: 'application/json-patch+json' });
    changed += operations.length / 2;
  }
  return changed;
}
