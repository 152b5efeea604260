/**
 * A program for Python that opens a connection on the ports that somebody else opens it on at the same time, and prints how that went: `connected` where it has heard exactly
 * what the other one says, the name of an error, `timeout` after a minute, or what it has heard instead.
 * @param at epoch seconds of the attempt
 */
export const SIMULTANEOUS_OPEN = (to: string, port: number, at: number): string => `
import errno, socket, time
s = socket.socket(${to.includes(':') ? 'socket.AF_INET6' : 'socket.AF_INET'})
s.settimeout(60); s.bind(('', ${port}))
time.sleep(max(0, ${at} - time.time()))
try:
    s.connect(('${to}', ${port}))
    s.sendall(b'a word.'); s.shutdown(socket.SHUT_WR)
    heard = b''
    while True:
        part = s.recv(4096)
        if not part: break
        heard += part
    print('connected' if heard == b'a word.' else repr(heard))
except socket.timeout: print('timeout')
except OSError as error: print(errno.errorcode.get(error.errno, str(error)))
`;
