import t from 'tap';
import { PodUnderTest, PROXY_UID, SILENCE_MS, TOOLS } from '../redirect/pod-under-test.ts';
import { cannotNetns } from '../support/netns.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const FAMILIES = ['four', 'six'] as const;
// They share nothing, and much of their time is waiting.
t.jobs = TOOLS.length;
const APPLICATION_UID = 4_711;

for (const tool of TOOLS) {
  t.test(`redirect impostor, rules by ${tool}`, { skip, timeout: 290_000 }, async (t) => {
    const under = new PodUnderTest(t, tool);
    t.match(await under.redirect('apply'), { status: 0 });

    t.test(
      'a program that has the ports of a proxy that is away is heard by nobody outside the pod',
      async (t) => {
        for (const port of [14_006, 14_020]) {
          const impostor = await under.listen('pod', port, 'impostor', APPLICATION_UID);
          const to = port === 14_006 ? 8_080 : port;
          await Promise.all(
            FAMILIES.map(async (family) => {
              const outside = {
                from: 'far',
                to: under.pod[family],
                port: to,
                timeoutMs: SILENCE_MS,
              } as const;
              t.not(await under.hear(outside), 'impostor', `${port} ${family}`);
              const inside = { from: 'pod', to: under.pod[family], port } as const;
              t.equal(await under.hear(inside), 'impostor', `${port} ${family}: it listens`);
            }),
          );
          const gone = new Promise((resolve) => impostor.once('close', resolve));
          impostor.kill('SIGKILL');
          await gone;
        }
      },
    );

    t.test(
      "the proxy's answers pass to the last packet, also when its socket is closed already",
      async (t) => {
        const before = await refused(under);
        t.equal(before.length, tool === 'nft' ? 0 : 4, 'two ports in two families');
        await under.program('pod', CLOSES_FIRST, PROXY_UID);
        for (const family of FAMILIES) {
          for (const port of [8_080, 14_020]) {
            const caller = await under.program('far', closesLast(under.pod[family], port));
            t.equal(await new Promise((resolve) => caller.once('close', resolve)), 0, `${port} ${family}`);
          }
        }
        await until('no connection of the callers is left', async () => {
          const { out } = await under.network.run('far', ['ss', '-Htn', 'state', 'connected']);
          return out.trim() === '';
        });
        t.strictSame(await refused(under), before);
      },
    );
  });
}

/** Packets that the rule about other programs refused, by port and family; nft counts none. */
async function refused(under: PodUnderTest): Promise<string[]> {
  if (under.backend === 'nft') return [];
  const saved = await under.shell('iptables-save -c; ip6tables-save -c');
  return [...saved.matchAll(/\[(\d+):\d+\] .*"another program on its ports"/g)].map(
    ([, packets]) => packets!,
  );
}

/** Closes its socket before the caller does: the kernel has to answer the caller's FIN by itself. */
const CLOSES_FIRST = `for (const port of [14006, 14020]) require('net').createServer((s) => {
  s.on('error', () => {}); s.end('proxy', () => s.destroy()); }).listen(port, '::');
setTimeout(() => console.log('up'), 50);`;

/** Exits with 0 when it has heard the word and its end, and was not reset before it closed. */
function closesLast(host: string, port: number): string {
  return `let heard = ''; console.log('up');
    const s = require('net').connect({ host: '${host}', port: ${port}, allowHalfOpen: true });
    s.on('data', (d) => (heard += d)).on('error', () => process.exit(1));
    s.on('end', () => setTimeout(() => s.end(() => process.exit(heard === 'proxy' ? 0 : 2)), 200));`;
}
