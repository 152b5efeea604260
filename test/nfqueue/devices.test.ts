import { execFileSync } from 'node:child_process';
import t from 'tap';
import { devicesByAddress } from '../../src/nfqueue/devices.ts';

interface Shown {
  readonly ifindex: number;
  readonly addr_info: readonly { readonly local?: string; readonly scope: string }[];
}

t.test('devices: each address has the number of its interface', (t) => {
  const devices = devicesByAddress();
  const shown = JSON.parse(execFileSync('ip', ['-j', 'addr'], { encoding: 'utf8' })) as Shown[];
  const rows = shown.flatMap(({ ifindex, addr_info: addresses }) =>
    addresses.flatMap(({ local }) => (local === undefined ? [] : [[local, ifindex] as const])),
  );
  // Addresses may come and go while this runs; loopback stays.
  t.equal(devices.get('127.0.0.1'), rows.find(([address]) => address === '127.0.0.1')![1]);
  t.ok([...devices.values()].every((number) => Number.isInteger(number) && number > 0));
  t.equal(devices.get('192.0.2.1'), undefined);
  t.end();
});
