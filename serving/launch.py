"""Starting the service: the address is taken, then BentoML's workers open what is served and answer until stopped."""

import errno
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from recsys.errors import ConfigError
from serving.access import Access
from serving.processors import processors
from serving.served import Served
from serving.supervisor import Said, Supervisor

GRACE_SECONDS = 30
"""How long a stopping worker may take to finish the requests it has."""
SPARE_SECONDS = 15
"""Beyond that, and the time to drain, until a worker that has not ended is killed."""
IDLE_SECONDS = 75
"""How long a connection may stay unused: longer than the 60 s of most proxies and load balancers, for a caller who asks
just while the connection is being closed gets no answer."""
MOST_WORKERS = 64
FREED_SECONDS = 3.0
"""How long an address that is taken is tried again: a server that was killed a moment ago may still hold it."""
BACKLOG = 2048
"""Connections that wait to be taken up."""


def launch(served: Served, *, access: Access, workers: int) -> None:
    """Serve until SIGTERM or SIGINT. Returns when the workers have finished what they had begun.

    What the first worker to start could not open is raised here.
    """
    access.check()
    served.check()
    listening = _listening(access.host, access.port)
    home, before = tempfile.mkdtemp(prefix="recsys-serve-"), dict(os.environ)
    try:
        _prepare(home, served)
        access.to_environment(home)
        command = partial(_command, access, listening.fileno())
        # BentoML imports the service from the workers' directory; from the caller's current directory a file named
        # serving.py would take our place.
        package_parent = Path(__file__).resolve().parent.parent
        supervisor = Supervisor(command, workers, listening, package_parent)
        supervisor.run(partial(_ready, access), served.drain + GRACE_SECONDS + SPARE_SECONDS)
    finally:
        listening.close()
        shutil.rmtree(home, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


def _ready(access: Access, said: Said) -> None:
    day = f" as of {said['as_of']}" if said["as_of"] else ""
    print(f"Serving bundle {said['bundle_id']}{day} at {access.url}{said['path']}", file=sys.stderr, flush=True)
    access.say()


def workers_of(text: str) -> int:
    """The number of workers that an option asks for; `auto` is one for each processor that this process may use."""
    if text == "auto":
        return processors()
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise ConfigError(f"--workers {text}: not auto, nor a number from 1 to {MOST_WORKERS}")
    return int(text)


def _prepare(home: str, served: Served) -> None:
    """Environment of the workers."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.environ["BENTOML_HOME"] = home
    shared = Path(home) / "prometheus"  # of the workers of this server: two servers of one user must not share it
    shared.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # one customer is too little work to share; workers are parallel
    os.environ["PYTHONSAFEPATH"] = "1"  # a worker's `python -m` would put its directory on the import path
    served.to_environment()


def _command(access: Access, listening: int, number: int) -> Sequence[str]:
    """BentoML's worker, as its own supervisor would start it."""
    options = {
        "fd": listening,
        "service-name": "recsys",
        "worker-id": number,
        "backlog": BACKLOG,
        "args": json.dumps({}),
        "timeout-keep-alive": IDLE_SECONDS,
        "timeout-graceful-shutdown": GRACE_SECONDS,
        **access.for_server(),
    }
    pairs = (f"--{name.replace('_', '-')}={value}" for name, value in options.items())
    return [sys.executable, "-m", "_bentoml_impl.worker.service", "serving.service:Recommendations", *pairs]


def _listening(host: str, port: int) -> socket.socket:
    """A socket that callers can reach from now on; ConfigError unless the address can be listened on."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    until = time.monotonic() + FREED_SECONDS
    while True:
        try:
            found.bind((host, port))
            found.listen(BACKLOG)
            return found
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                found.close()
                right = "name another address or port"
                raise ConfigError(f"--host {host} --port {port}: {error.strerror}; {right}") from None
            time.sleep(0.05)
