"""Calls FAR in every way that sockets alone offer, all at once, and prints a JSON object: what was heard on each, or null.

socket-options.py FAR4 FAR6 OWN4 OWN6 SECONDS [NAME ...]   names: these ways alone
"""
import ctypes, json, socket, sys, threading

far4, far6, own4, own6, patience, *names = sys.argv[1:]
SO_BINDTODEVICE, SO_MARK, MPTCP, IPV6_RTHDR = 25, 36, 262, 57
heard = {}


def call(name, family, to, options=(), bind=None, protocol=0, before=None):
    def run():
        heard[name] = None
        try:
            with socket.socket(family, socket.SOCK_STREAM, protocol) as one:
                one.settimeout(float(patience))
                for level, option, value in options:
                    one.setsockopt(level, option, value)
                if bind:
                    one.bind(bind)
                if before:
                    before(one)
                one.connect((to, 8080))
                heard[name] = one.recv(64).decode()
        except OSError:
            pass

    if not names or name in names:
        threads.append(threading.Thread(target=run))


def source_route(kind, first):
    return bytes([kind, 11, 4]) + socket.inet_aton(first) + socket.inet_aton(far4) + b"\1"


def segments(first):
    """A segment routing header (RFC 8754) over one more place."""
    return bytes([0, 4, 4, 1, 1, 0, 0, 0]) + bytes(16) + socket.inet_pton(socket.AF_INET6, first)


def again(one):
    """A socket may be let go and connected anew."""
    try:
        one.connect((far4, 8080))
    except OSError:
        pass
    ctypes.CDLL(None).connect(one.fileno(), bytes(16), 16)


threads = []
FOUR, SIX = socket.AF_INET, socket.AF_INET6
call("plain 4", FOUR, far4)
call("plain 6", SIX, far6)
call("mapped", SIX, "::ffff:" + far4)
call("again", FOUR, far4, before=again)
call("Multipath TCP", FOUR, far4, protocol=MPTCP)
call("service and hops", FOUR, far4, [(0, socket.IP_TOS, 0xFE), (0, socket.IP_TTL, 2)])
call("record route", FOUR, far4, [(0, socket.IP_OPTIONS, bytes([7, 39, 4]) + bytes(37))])
for device in ("lo", "eth0"):
    call("device 4 " + device, FOUR, far4, [(1, SO_BINDTODEVICE, device.encode())])
    call("device 6 " + device, SIX, far6, [(1, SO_BINDTODEVICE, device.encode())])
for kind in (131, 137):
    for first in ("127.0.0.1", own4):
        call(f"source route {kind} by {first}", FOUR, far4, [(0, socket.IP_OPTIONS, source_route(kind, first))])
        call(f"source route {kind} of {first}", FOUR, first, [(0, socket.IP_OPTIONS, source_route(kind, first))])
for first in ("::1", own6):
    call("segments by " + first, SIX, far6, [(41, IPV6_RTHDR, segments(first))])
for mark in (0x0C500000, 0x0C600000, 0x0D000000, 0x0D100000, 0x0E000000, 0x0F000000):
    call(f"mark {mark:x}", FOUR, far4, [(1, SO_MARK, mark)])
    call(f"mark 6 {mark:x}", SIX, far6, [(1, SO_MARK, mark)])
for port in (14001, 14006, 14010, 14011, 14012, 14020):
    call(f"from {port}", FOUR, far4, [(1, socket.SO_REUSEADDR, 1), (1, socket.SO_REUSEPORT, 1)], (own4, port))
call("from elsewhere", FOUR, far4, [(0, 19, 1)], ("10.99.77.77", 0))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(heard))
