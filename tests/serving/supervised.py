"""A supervisor of workers that only wait, for a test to kill: `python supervised.py WORKERS FOLDER`."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

from recsys.errors import ConfigError
from serving.supervisor import Supervisor, say, start_told


def work(number: int, folder: Path) -> None:
    """Be a worker; a file `fail-NUMBER` says that it cannot start."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with start_told():
        if (folder / f"fail-{number}").exists():
            raise ConfigError((folder / f"fail-{number}").read_text())
    (folder / f"pid-{number}").write_text(str(os.getpid()))
    say(number=number)
    while True:
        time.sleep(60)


def main() -> None:
    """Supervise."""
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    with socket.socket() as listening:
        supervisor = Supervisor(
            lambda number: [sys.executable, __file__, "worker", str(number), str(folder)], count, listening, folder
        )
        try:
            supervisor.run(lambda said: print("ready", said["number"], flush=True), 20)
        except ConfigError as error:
            raise AssertionError("the class of an error is not carried over, its words and exit code are") from error
        except Exception as error:
            sys.exit(f"{getattr(error, 'exit_code', None)}: {error}")


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
