"""A real PostgreSQL on loopback, with a password and without a disk worth keeping, for the tests that need one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

USER, PASSWORD = "bank", "s3cr@t/word"


@dataclass(frozen=True)
class Server:
    """Where it listens, and how to stop and start it."""

    port: int
    folder: Path
    programs: Path

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:s3cr%40t%2Fword@127.0.0.1:{self.port}/postgres"

    def control(self, *words: str) -> None:
        run(self.folder, str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *words)

    def execute(self, sql: str) -> None:
        """Run statements, as psql does."""
        command = [str(self.programs / "psql"), "-v", "ON_ERROR_STOP=1", "-q", self.url]
        subprocess.run(command, input=sql, text=True, check=True, stdout=subprocess.DEVNULL)


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    beside = shutil.which("initdb")
    return found[-1].parent if found else Path(beside).resolve().parent if beside else None


@contextmanager
def running(folder: Path, where: Path) -> Iterator[Server]:
    """A server with its data below `folder`; it is stopped when the block ends."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    (folder / "password").write_text(PASSWORD)
    if os.getuid() == 0:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    authentication = [
        "-U",
        USER,
        "--pwfile",
        str(folder / "password"),
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    run(folder, str(where / "initdb"), "-D", str(folder / "data"), *authentication)
    server = Server(port, folder, where)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    server.control("-o", options, "-l", str(folder / "log"), "start")
    try:
        yield server
    finally:
        server.control("-m", "immediate", "stop")


def run(folder: Path, *command: str) -> None:
    """Run one of its programs; not as root, whom it refuses."""
    apart = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*apart, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
