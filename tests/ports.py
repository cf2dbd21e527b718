"""Ports for the servers that tests start."""

import os
import random
import re
import socket

_LOW, _HIGH = 12_000, 32_000
"""Below the range from which systems give ports to outgoing connections and to servers that name none: there,
another process may take a port between the moment it was found free and the moment the server binds it."""
_SHARES = 8
_drawn = random.Random(os.getpid())


def free_port() -> int:
    """A port of the loopback that nobody listens on; workers of one run draw from ranges of their own."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % _SHARES
    width = (_HIGH - _LOW) // _SHARES
    while True:
        port = _LOW + worker * width + _drawn.randrange(width)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
