/** Netlink headers are in the order of this machine; what netfilter puts inside is mostly in network order. */
export const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
