import t from 'tap';
import { PodUnderTest } from '../redirect/pod-under-test.ts';
import { Queues } from '../redirect/queues.ts';
import { soaking } from '../support/effort.ts';
import { cannotNetns } from '../support/netns.ts';

const skip = cannotNetns();
t.setTimeout(1_200_000);
/** Without `make long-test` the rules that the kernel comes to by itself, to which all others are subordinate. */
const every = soaking;
const HOOKS = ['prerouting', 'input', 'output'];
const MODE = ['--mode', 'nfqueue'];

interface Listed {
  readonly chain: string;
  /** Its place in the chain: handles change with every `apply`. */
  readonly at: number;
  readonly text: string;
  readonly handle: string;
}

t.test(
  'nfqueue rules by nft: any single one deleted, no byte passes unjudged',
  { skip, timeout: 1_200_000 },
  async (t) => {
    const under = new PodUnderTest(t, 'nft');
    await under.start();
    const queues = new Queues(under);
    t.match(await under.redirect('apply', ...MODE), { status: 0 });
    const calls = (timeoutMs: number): Promise<string[]> =>
      Promise.all([
        under.hear({ from: 'far', to: under.pod.four, port: 8080, timeoutMs }),
        under.hear({ from: 'pod', to: under.far.six, port: 8080, timeoutMs }),
      ]);
    await queues.start('accept');
    t.strictSame(await calls(20_000), ['application', 'far'], 'what passes is heard');
    // A handshake of TCP is let through: whatever follows it is without a verdict.
    await queues.now('opening');
    const rules = listed(await under.shell('nft -a list table inet countersign'));
    t.ok(rules.length > 50, 'the rules are read');
    for (const { chain, at, text } of rules) {
      if (!every && !HOOKS.includes(chain)) continue;
      const { handle } = listed(await under.shell(`nft -a list chain inet countersign ${chain}`))[at]!;
      await under.shell(`nft delete rule inet countersign ${chain} handle ${handle}`);
      const told = await calls(700);
      t.notMatch(told.join(' '), /application|far/, `${chain}: ${text}`);
      t.match(await under.redirect('apply', ...MODE), { status: 0 });
    }
  },
);

/** The rules in a listing with handles. */
function listed(listing: string): Listed[] {
  let chain = '';
  let at = 0;
  return listing.split('\n').flatMap((line) => {
    const opens = /^\s*chain (\S+) \{/.exec(line);
    if (opens !== null) [chain, at] = [opens[1]!, 0];
    const rule = opens === null ? /^\s*(.+) # handle (\d+)$/.exec(line) : null;
    return rule === null ? [] : [{ chain, at: at++, text: rule[1]!, handle: rule[2]! }];
  });
}
