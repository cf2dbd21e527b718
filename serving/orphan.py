"""A worker does not outlive the process that started it: an orphan would hold the port against the next server."""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def die_with_parent(parent: int | None = None) -> None:
    """Have Linux kill this process when its parent ends, however that ends; elsewhere nothing is done.

    What was acknowledged is on the disk by then, so there is nothing to put in order.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os.kill(os.getpid(), signal.SIGKILL)
