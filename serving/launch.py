"""Starting the service: what is to be served is checked first, then BentoML's workers answer until they are stopped."""

import ipaddress
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from serving.access import Access
from serving.processors import processors
from serving.served import Served

GRACE_SECONDS = 30
"""How long a stopping worker may take to finish the requests it has."""
MOST_WORKERS = 64


def launch(served: Served, *, access: Access, workers: int) -> None:
    """Serve until SIGTERM or SIGINT. Returns when the workers have finished what they had begun."""
    access.check()
    _check_address(access.host, access.port)
    found = served.answers(served.chosen())  # what a worker could not open is said here, before there is one
    home = tempfile.mkdtemp(prefix="recsys-serve-")
    try:
        _prepare(home, served)
        access.to_environment(home)
        day = f" as of {found.as_of}" if found.as_of else ""
        print(
            f"Serving bundle {found.bundle.bundle_id}{day} at {access.url}{found.paths[0]}",
            file=sys.stderr,
            flush=True,
        )
        if found.store is not None:
            found.store.close()
        del found  # the workers have their own
        access.say()
        _serve(access, workers)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def workers_of(text: str) -> int:
    """The number of workers that an option asks for; `auto` is one for each processor that this process may use."""
    if text == "auto":
        return processors()
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise ConfigError(f"--workers {text}: not auto, nor a number from 1 to {MOST_WORKERS}")
    return int(text)


def _prepare(home: str, served: Served) -> None:
    """Environment of the workers, set before BentoML is imported, which reads some of it once."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.environ["BENTOML_HOME"] = home  # its metrics files: two servers of one user must not share them
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # one customer is too little work to share; workers are parallel
    os.environ["PYTHONSAFEPATH"] = "1"  # a worker's `python -m` would put its directory on the import path
    served.to_environment()


def _serve(access: Access, workers: int) -> None:
    from _bentoml_impl.server import serve_http

    from serving.service import Recommendations

    service: Any = Recommendations  # BentoML's decorator has made the class a Service
    service.config["workers"] = workers
    service.inject_config()
    # BentoML imports the service from this directory and makes it the workers' own; from the caller's current
    # directory a file named serving.py would take our place.
    package_parent = str(Path(__file__).resolve().parent.parent)
    serve_http(
        "serving.service:Recommendations",
        working_dir=package_parent,
        host=access.host,
        port=access.port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **access.for_server(),
    )


def _check_address(host: str, port: int) -> None:
    """ConfigError unless the address can be listened on."""
    version = ipaddress.ip_address(host).version
    try:
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: {error.strerror}; name another address or port") from None
