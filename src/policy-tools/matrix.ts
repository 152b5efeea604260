import { Judge } from '../policy/judge.ts';
import type { Protocol } from '../policy/model.ts';
import { Ends } from '../workloads/ends.ts';
import type { Inventory } from '../workloads/inventory.ts';
import { addressGroup, endGroups } from './end-groups.ts';
import { judgementText, pairOf } from './reach.ts';

/** Who can reach whom on one port. */
export interface Matrix {
  /** As it was asked for: `5432`, `http`. */
  readonly port: string;
  readonly protocol: Protocol;
  readonly ends: readonly { readonly name: string; readonly members: readonly string[] }[];
  readonly flows: readonly MatrixFlow[];
}

export interface MatrixFlow {
  readonly from: string;
  readonly to: string;
  /** undefined: the destination has no port of that name. */
  readonly port: number | undefined;
  readonly verdict: 'allow' | 'deny' | 'no-such-port';
  readonly reason: string;
}

/**
 * Asks every end about every other one. Ends that no policy tells apart are one.
 * @param port a number, or a name that each destination has for a port of its own
 * @param addresses outside the cluster, to be asked about too
 */
export function matrixOf(
  inventory: Inventory,
  port: string,
  protocol: Protocol,
  addresses: readonly string[],
): Matrix {
  const ends = new Ends(inventory);
  const groups = [
    ...endGroups([inventory], { regions: false }),
    ...addresses.map((address) => addressGroup({ name: address, address }, [ends])),
  ];
  const judge = new Judge(inventory.policies, inventory.clusterPolicies);
  const flows = groups.flatMap((source) =>
    groups.flatMap((target): MatrixFlow[] => {
      const pair = pairOf(source, target, 0);
      if (pair === undefined) return [];
      const [from, to] = pair;
      const names = { from: source.name, to: target.name };
      const numbers = /^\d+$/.test(port)
        ? [Number(port)]
        : (to.kind === 'pod' ? to.namedPorts : [])
            .filter((one) => one.name === port && one.protocol === protocol)
            .map((one) => one.port);
      if (numbers.length === 0) {
        return [
          { ...names, port: undefined, verdict: 'no-such-port', reason: `no ${protocol} port ${port}` },
        ];
      }
      return [...new Set(numbers)].map((number) => {
        const judgement = judge.judge({ from, to, protocol, port: number });
        return { ...names, port: number, verdict: judgement.verdict, reason: judgementText(judgement) };
      });
    }),
  );
  return { port, protocol, ends: groups.map(({ name, members }) => ({ name, members })), flows };
}
