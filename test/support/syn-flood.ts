/**
 * A program for Python that sends so many SYNs with a payload that begins as an identity message does, from made-up addresses of 10.99.64.0/18:
 * all checksums are right, and nothing else is. Prints `begun` and, at its end, `sent`.
 */
export const GARBAGE_SYNS = (target: string, port: number, count: number, magic: Uint8Array): string => `
import os, random, socket, struct
def checksum(data):
    if len(data) % 2: data += b'\\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
target = socket.inet_aton('${target}')
def packet():
    source = bytes([10, 99, random.randrange(64, 128), random.randrange(1, 255)])
    payload = bytes.fromhex('${Buffer.from(magic).toString('hex')}') + bytes([random.randrange(1, 9), 0]) + struct.pack('!H', random.randrange(0, 700)) + os.urandom(random.randrange(0, 900))
    head = struct.pack('!HHIIBBHHH', random.randrange(1024, 65536), ${port}, random.randrange(2**32), 0, 0x50, 2, 65535, 0, 0)
    pseudo = source + target + struct.pack('!BBH', 0, 6, len(head) + len(payload))
    head = head[:16] + struct.pack('!H', checksum(pseudo + head + payload)) + head[18:]
    return struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(head) + len(payload), 0, 0, 64, 6, 0, source, target) + head + payload
packets = [packet() for _ in range(2000)]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
print('begun', flush=True)
for number in range(${count}):
    try: raw.sendto(packets[number % len(packets)], ('${target}', 0))
    except OSError: pass
print('sent', flush=True)
`;
