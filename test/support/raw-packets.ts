/**
 * A program for Python that sends packets by a raw socket. `body` has `send(source, target, sport, dport, seq, ack, flags, options, payload)` for packets of
 * TCP over IPv4 with right checksums, `again(hex)` for whole ones, and `checksum`; the program prints `sent` when it comes to its end.
 */
export const RAW_PACKETS = (body: string): string => `
import os, random, select, socket, struct, sys, time
def checksum(data):
    if len(data) % 2: data += b'\\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def out(packet, target):
    try: raw.sendto(packet, (target, 0))
    except OSError: pass
def send(source, target, sport, dport, seq, ack, flags, options=b'', payload=b''):
    head = struct.pack('!HHIIBBHHH', sport, dport, seq & 0xffffffff, ack & 0xffffffff, (5 + len(options) // 4) << 4, flags, 65535, 0, 0) + options
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    pseudo = addresses + struct.pack('!BBH', 0, 6, len(head) + len(payload))
    head = head[:16] + struct.pack('!H', checksum(pseudo + head + payload)) + head[18:]
    out(struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(head) + len(payload), 0, 0, 64, 6, 0) + addresses + head + payload, target)
def again(text):
    packet = bytes.fromhex(text)
    out(packet, socket.inet_ntoa(packet[16:20]))
${body}
print('sent', flush=True)
`;
