/** A server that speaks first, and clients that send at once: what either hears is exactly what the other said, or shows. */

/** Says who it is as soon as it has accepted, then what it heard; takes data in SYNs where it may. */
export const GREETER = (port: number): string => `
import socket, threading
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.IPPROTO_TCP, 23, 100)
s.bind(('::', ${port})); s.listen(500); print('up', flush=True)
def serve(c):
    try:
        c.sendall(b'hello;')
        got = b''
        while not got.endswith(b'.'):
            part = c.recv(4096)
            if not part: break
            got += part
        c.sendall(got)
    except OSError: pass
    c.close()
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
`;

/** Calls in turn, sends at once, and prints how often each answer came. `how` is what connects and sends `data`. */
export const GREETED_CALLS = (address: string, port: number, count: number, how: string): string =>
  `
import socket, json, collections
told = collections.Counter()
for number in range(${count}):
    s = socket.socket(${address.includes(':') ? 'socket.AF_INET6' : 'socket.AF_INET'}); s.settimeout(30); data = b'call %d.' % number
    try:
        ${how}
        got = b''
        while True:
            part = s.recv(4096)
            if not part: break
            got += part
        told['right' if got == b'hello;' + data else 'wrong ' + repr(got)] += 1
    except OSError as error: told[type(error).__name__ + str(error.errno)] += 1
    s.close()
print(json.dumps(told))
`.replaceAll('TARGET', `('${address}', ${port})`);

/** Connects, then sends. */
export const AT_ONCE = 's.connect(TARGET); s.sendall(data)';
/** Sends with its SYN (MSG_FASTOPEN). */
export const FAST_OPEN = 's.settimeout(None); s.sendto(data, 0x20000000, TARGET)';
