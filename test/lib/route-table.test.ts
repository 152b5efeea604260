import t from 'tap';
import { defaultGateways4, defaultGateways6 } from '../../src/lib/route-table.ts';

/** As the kernel writes them. */
const ROUTE = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t6601F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth1\t0000A8C0\t0101F40A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
`;
const ROUTE6 = `fd000001000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000001000000000000000000000066 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`;

t.test('route table: the gateway of the default route alone is read, in either byte order', (t) => {
  t.strictSame(defaultGateways4(ROUTE, 'LE'), ['10.244.1.102']);
  t.strictSame(defaultGateways4(ROUTE.replace('6601F40A', '0AF40166'), 'BE'), ['10.244.1.102']);
  t.strictSame(defaultGateways6(ROUTE6), ['fd00:1::66']);
  t.end();
});

t.test('route table: a default route without a gateway, or what is no table, has none', (t) => {
  t.strictSame(defaultGateways4(ROUTE.replace('0003', '0001'), 'LE'), []);
  t.strictSame(defaultGateways6(ROUTE6.replace('00000003', '00000001')), []);
  for (const text of ['', 'x', 'eth0 00000000 zz 0003 0 0 0 00000000', ' \n\n 1 2 3 4 5 6 7 8 9']) {
    t.strictSame(defaultGateways4(text, 'LE'), []);
    t.strictSame(defaultGateways6(text), []);
  }
  t.end();
});
