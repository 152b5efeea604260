import t from 'tap';
import { checkOptions, type RedirectOptions } from '../../src/redirect/plan.ts';
import { iptablesPlan, iptablesRemoval } from '../../src/redirect/plan-iptables.ts';
import { nftPlan } from '../../src/redirect/plan-nft.ts';
import { isProbe } from '../../src/redirect/probe.ts';

const OPTIONS: RedirectOptions = {
  proxyUid: 14_014,
  excludeInboundPorts: [],
  excludeOutboundPorts: [],
  excludeOutboundCidrs: [],
};
const EXCLUDING: RedirectOptions = {
  proxyUid: 7,
  excludeInboundPorts: [9_100],
  excludeOutboundPorts: [53],
  excludeOutboundCidrs: ['169.254.169.254/32', 'fd00::/8'],
};

t.test('redirect plan: nft rules are these, in this order', (t) => {
  const chain = (name: string): string[] => {
    const [, body = ''] =
      new RegExp(`chain ${name} \\{([^}]*(?:\\{[^}]*\\}[^}]*)*)\\n  \\}`).exec(nftPlan(OPTIONS)) ?? [];
    return body
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
  };
  t.strictSame(chain('outbound'), [
    'type nat hook output priority -100; policy accept;',
    'oifname "lo" tcp dport != 14010 return',
    'oifname != "lo" meta skuid 14014 return',
    'meta l4proto tcp redirect to :14001',
  ]);
  t.strictSame(chain('inbound'), [
    'type nat hook prerouting priority dstnat; policy accept;',
    'iifname "lo" return',
    'fib daddr type != local return',
    'tcp dport { 14020 } return',
    'meta l4proto tcp redirect to :14006',
  ]);
  t.strictSame(chain('inbound_filter').at(-1), 'reject with tcp reset');
  t.strictSame(chain('outbound_filter').at(-1), 'reject with tcp reset');
  t.ok(nftPlan(OPTIONS).startsWith('add table inet countersign\ndelete table inet countersign\n'));
  t.end();
});

t.test('redirect plan: exclusions are in redirection and in the filter, each family its own', (t) => {
  const nft = nftPlan(EXCLUDING);
  for (const part of [
    'oifname != "lo" tcp dport { 53 } return',
    'oifname != "lo" meta l4proto tcp ip daddr 169.254.169.254/32 return',
    'oifname != "lo" meta l4proto tcp ip6 daddr fd00::/8 return',
    'tcp dport { 14020, 9100 } return',
    'tcp sport { 14020, 9100 } ct direction reply accept',
    'meta skuid 7 accept',
  ]) {
    t.ok(nft.includes(`    ${part}\n`), part);
  }
  const four = iptablesPlan(4, EXCLUDING, new Set());
  const six = iptablesPlan(6, EXCLUDING, new Set());
  t.ok(four.includes('-A COUNTERSIGN_OUTBOUND ! -o lo -d 169.254.169.254/32 -j RETURN'));
  t.notOk(four.includes('fd00::/8'));
  t.ok(six.includes('-A COUNTERSIGN_OUT_FILTER -d fd00::/8 -j RETURN'));
  t.notOk(six.includes('169.254'));
  t.end();
});

t.test('redirect plan: both tools redirect and refuse the same', (t) => {
  const four = iptablesPlan(4, OPTIONS, new Set());
  t.match(four, /-A COUNTERSIGN_OUTBOUND -p tcp -j REDIRECT --to-ports 14001\n/);
  t.match(four, /-A COUNTERSIGN_INBOUND -p tcp -j REDIRECT --to-ports 14006\n/);
  t.match(
    four,
    /-A COUNTERSIGN_IN_FILTER -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT|tcp-reset\n-A COUNTERSIGN_OUT/,
  );
  t.equal(four.match(/^-I /gm)?.length, 5);
  t.equal(
    iptablesPlan(4, OPTIONS, new Set(['COUNTERSIGN_OUTBOUND'])).match(/^-I /gm)?.length,
    4,
    'a jump is put once',
  );
  t.equal(
    iptablesRemoval(new Set(), new Set()),
    '*nat\nCOMMIT\n*mangle\nCOMMIT\n*filter\nCOMMIT\n'.slice(0, 0),
  );
  t.end();
});

t.test('redirect plan: options that would open something are refused', (t) => {
  for (const [options, expected] of [
    [{ ...OPTIONS, proxyUid: 0 }, /not root/],
    [{ ...OPTIONS, proxyUid: Number.NaN }, /--proxy-uid/],
    [{ ...OPTIONS, excludeInboundPorts: [0] }, /no port/],
    [{ ...OPTIONS, excludeOutboundPorts: [65_536] }, /no port/],
    [{ ...OPTIONS, excludeOutboundCidrs: ['10.0.0.1; drop'] }, /no network/],
  ] as const) {
    t.throws(() => checkOptions(options), { message: expected });
  }
  t.end();
});

t.test('redirect probe: only a call to the port of the test, on loopback, is one', (t) => {
  t.ok(isProbe({ address: '127.0.0.1', port: 14_010 }));
  t.ok(isProbe({ address: '::1', port: 14_010 }));
  t.notOk(isProbe({ address: '10.0.0.1', port: 14_010 }));
  t.notOk(isProbe({ address: '127.0.0.1', port: 80 }));
  t.notOk(isProbe(undefined));
  t.end();
});
