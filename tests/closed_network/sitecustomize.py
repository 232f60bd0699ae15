"""A closed network for a process and its children: put this folder into PYTHONPATH, and name a file in C2D_CONNECTIONS.

Every connection and every look-up of a host is refused and written to that file, so that an attempt is seen even where
the caller ignores the error. Sockets of this machine alone (AF_UNIX) are open, those of a process group as well.
"""

import os
import sys

LOG = os.environ["C2D_CONNECTIONS"]
CLOSED = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def refuse(event: str, arguments: tuple) -> None:
    if event not in CLOSED:
        return
    address = arguments[1] if event.startswith(("socket.connect", "socket.send")) else arguments[0]
    if event.startswith(("socket.connect", "socket.send")) and not isinstance(address, tuple):  # AF_UNIX
        return
    host = address[0] if isinstance(address, tuple) else address
    if host in LOOPBACK and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return
    with open(LOG, "a") as log:
        log.write(f"{event} {address!r}\n")
    raise OSError(f"the network of this test is closed: {event} {address!r}")


sys.addaudithook(refuse)
