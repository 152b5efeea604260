import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { canonicalAddress, formatAddress, formatEndpoint, parseAddress } from '../../src/lib/address.ts';
import { cidrContains, cidrCovers, parseCidr } from '../../src/lib/cidr.ts';

t.test('address: texts that other parsers read as some other host are refused', (t) => {
  for (const text of [
    '010.1.0.7',
    '10.1',
    '1',
    '',
    '10.0.0.256',
    'fe80::1%eth0',
    '::g',
    '1.2.3.4.5',
    ' 10.0.0.1',
  ]) {
    t.equal(parseAddress(text), undefined, JSON.stringify(text));
  }
  t.end();
});

t.test('address: canonical form is RFC 5952, and a mapped address is the IPv4 address it maps', (t) => {
  const table: [string, string][] = [
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
    ['10.0.0.1', '10.0.0.1'],
  ];
  for (const [text, canonical] of table) t.equal(canonicalAddress(text), canonical, text);
  t.equal(formatEndpoint({ address: 'fd00::1', port: 80 }), '[fd00::1]:80');
  t.equal(formatEndpoint({ address: '10.0.0.1', port: 80 }), '10.0.0.1:80');
  t.end();
});

t.test('address: what is printed is read back as the same address', (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const address = parseAddress(text)!;
      const printed = formatAddress(address);
      return isIP(printed) !== 0 && JSON.stringify(parseAddress(printed)) === JSON.stringify(address);
    }),
    { numRuns: 2000 },
  );
  t.end();
});

t.test('cidr: agrees with the block list of the platform on every address', (t) => {
  const block = fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })),
    fc.tuple(
      fc.ipV6().filter((text) => parseAddress(text)?.family === 6),
      fc.integer({ min: 0, max: 128 }),
    ),
  );
  fc.assert(
    fc.property(block, fc.oneof(fc.ipV4(), fc.ipV6()), fc.boolean(), ([network, prefix], other, near) => {
      const address = parseAddress(near ? network : other)!;
      const family = (value: 4 | 6): 'ipv4' | 'ipv6' => (value === 4 ? 'ipv4' : 'ipv6');
      const oracle = new BlockList();
      oracle.addSubnet(network, prefix, family(parseAddress(network)!.family));
      const cidr = parseCidr(`${network}/${prefix}`)!;
      // The platform's list maps ::ffff: addresses silently; ours did so when it parsed.
      return (
        cidrContains(cidr, address) ===
        (address.family === cidr.family && oracle.check(formatAddress(address), family(address.family)))
      );
    }),
    { numRuns: 5000 },
  );
  t.end();
});

t.test('cidr: malformed notation is refused, host bits are masked off', (t) => {
  for (const text of [
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.0/',
    '/8',
    '::/129',
    '::ffff:10.0.0.0/104',
  ]) {
    t.equal(parseCidr(text), undefined, text);
  }
  const block = parseCidr('10.1.2.3/16')!;
  t.ok(cidrContains(block, parseAddress('10.1.255.255')!));
  t.notOk(cidrContains(block, parseAddress('10.2.0.0')!));
  t.ok(cidrCovers(parseCidr('10.0.0.0/8')!, block));
  t.notOk(cidrCovers(block, parseCidr('10.0.0.0/8')!));
  t.notOk(cidrCovers(parseCidr('::/0')!, block));
  t.end();
});
