"""A worker does not outlive the process that started it: an orphan would hold the port against the next server."""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have Linux kill this process when its parent ends, however that ends; elsewhere nothing is done.

    Called in a new process before it becomes another program: the wish outlives that. What was acknowledged is on the
    disk, so there is nothing to put in order.
    """
    if not sys.platform.startswith("linux"):
        return
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os.kill(os.getpid(), signal.SIGKILL)
