import { networkInterfaces } from 'node:os';

/** Whether this machine has IPv6 on loopback: kernels without IPv6, and containers without it, have not. */
export function hasLoopback6(): boolean {
  return Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));
}
