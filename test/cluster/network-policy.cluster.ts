import t from 'tap';
import { InstalledCluster, list } from '../support/installed-cluster.ts';
import { ProbePods, PORTS } from '../support/probe-pods.ts';
import { differences, expected, matrixText } from '../support/reachability.ts';
import { until } from '../support/until.ts';
import { scenarios, type Step } from './network-policy-scenarios.ts';

t.setTimeout(900_000);

const NAMESPACES = ['x', 'y', 'z'];
const PATIENCE_MS = 60_000;

t.test("Kubernetes' own NetworkPolicy scenarios, between injected pods", { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.start(t);
  const pods = await ProbePods.start(t, installed, NAMESPACES, ['a', 'b', 'c']);

  const clear = (): Promise<unknown> =>
    Promise.all(
      NAMESPACES.map((namespace) =>
        installed.cluster.admin.request(
          'DELETE',
          `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`,
        ),
      ),
    );
  const change = async ({ apply, label, clear: all }: Step): Promise<void> => {
    if (all === true) await clear();
    if (apply !== undefined) await installed.cluster.apply(list(...apply));
    for (const [object, text] of Object.entries(label ?? {})) {
      const [kind = '', ...path] = object.split('/');
      const which = path.length === 1 ? path : ['-n', path[0]!, kind, path[1]!];
      await installed.kubectl(['label', '--overwrite', ...(path.length === 1 ? [kind] : []), ...which, text]);
    }
  };
  /** Until the table is as it should be, and once more: what was right in passing does not count. */
  const reached = async (port: number, rules: readonly string[]): Promise<string | undefined> => {
    const wanted = expected(pods.names, rules);
    let text = '';
    const right = async (): Promise<boolean> => {
      const seen = await pods.matrix(port);
      const wrong = differences(wanted, seen);
      text = [...wrong, matrixText(pods.names, wanted, seen)].join('\n');
      return wrong.length === 0;
    };
    return until('the table', async () => (await right()) && (await right()), PATIENCE_MS).then(
      () => undefined,
      () => text,
    );
  };

  for (const { name, steps } of scenarios((pod) => pods.addresses.get(pod)!)) {
    t.test(name, async (t) => {
      await clear();
      for (const [at, step] of steps.entries()) {
        await change(step);
        for (const port of PORTS) {
          const rules = step[port];
          if (rules === undefined) continue;
          const said = `step ${at + 1}, port ${port}: ${rules.length === 0 ? 'all allowed' : rules.join(', ')}`;
          t.equal(await reached(port, rules), undefined, said);
        }
      }
    });
  }
});
