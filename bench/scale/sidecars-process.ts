/** Many sidecars' links to the authority in one process, without the proxy: what `bench/authority-scale.ts` measures with. */
import { AuthorityLink } from '../../src/authority-client/authority-link.ts';
import { messageOf } from '../../src/errors.ts';
import { type FromSidecars, monotonicMs, processUse, type SidecarPlan, type ToSidecars } from './messages.ts';
import { policySerial, SERIAL_LABEL } from './population.ts';

/** That many connect at once: a Deployment of hundreds rolls in steps as well. */
const AT_ONCE = 16;

const say = (message: FromSidecars): void => void process.send?.(message);
const links: AuthorityLink[] = [];
process.on('disconnect', () => process.exit(0));
process.on('message', (message: ToSidecars) => {
  if (message.kind === 'measure') return say({ kind: 'measured', use: processUse() });
  connectAll(message).catch((error: unknown) => say({ kind: 'failed', why: messageOf(error) }));
});
say({ kind: 'up' });

async function connectAll({ url, caFile, sidecars }: ToSidecars & { kind: 'connect' }): Promise<void> {
  const waiting = [...sidecars];
  const worker = async (): Promise<void> => {
    for (let plan = waiting.pop(); plan !== undefined; plan = waiting.pop()) {
      await connect(url, caFile, plan);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  say({ kind: 'connected' });
}

/** Resolves when it has an identity, its policy, and an answer about each of its peers. */
async function connect(url: string, caFile: string, plan: SidecarPlan): Promise<void> {
  const { pod, from, tokenFile, peers } = plan;
  const link = new AuthorityLink({
    urls: [url],
    caFile,
    tokenFile,
    pod,
    mode: 'enforce',
    release: 'bench',
    from,
  });
  links.push(link);
  const last = new Map<string, number>();
  const note = (object: string, serial: number, at: number): void => {
    if (last.get(object) === serial) return;
    last.set(object, serial);
    if (serial > 0) say({ kind: 'seen', object, serial, by: pod, at });
  };
  await new Promise<void>((resolve) => {
    link.source.subscribe(() => {
      const at = monotonicMs();
      const { snapshot } = link.source;
      if (snapshot === undefined) return;
      for (const policy of snapshot.policies) {
        note(`policy/${policy.namespace}/${policy.name}`, policySerial(policy), at);
      }
      const known = [pod, ...peers.map((peer) => peer.pod)].filter((name) => {
        const found = snapshot.directory.pod(...(name.split('/', 2) as [string, string]));
        if (found !== undefined) note(`pod/${name}`, Number(found.labels[SERIAL_LABEL] ?? 0), at);
        return found !== undefined;
      });
      for (const { address } of peers) snapshot.directory.owner(address);
      if (known.length === peers.length + 1 && link.identity.jwt !== undefined) resolve();
    });
    void link.source.start();
  });
}
