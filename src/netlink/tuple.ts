/** `AF_INET` and `AF_INET6` of Linux. */
export const AF = { 4: 2, 6: 10 } as const;

/** One direction of a TCP connection, as its packets name it. */
export interface Tuple {
  readonly family: 4 | 6;
  /** Four or sixteen bytes in network order. */
  readonly sourceAddress: Uint8Array;
  readonly sourcePort: number;
  readonly destinationAddress: Uint8Array;
  readonly destinationPort: number;
}

/**
 * Refuses what would name something else than it seems to.
 * @throws RangeError when an address has not as many bytes as its family, or a port is none
 */
export function checkTuple({
  family,
  sourceAddress,
  sourcePort,
  destinationAddress,
  destinationPort,
}: Tuple): void {
  const length = family === 4 ? 4 : 16;
  if (sourceAddress.length !== length || destinationAddress.length !== length) {
    throw new RangeError(`an address of IPv${family} has ${length} bytes`);
  }
  for (const port of [sourcePort, destinationPort]) {
    if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new RangeError(`${port} is no port`);
  }
}
