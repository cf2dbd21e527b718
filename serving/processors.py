"""How many processors this process may use: its affinity and the processor time that its control group is granted."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def processors(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """At least 1; a share of a processor counts as a whole one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(share) for share in _shares(cgroups, membership))]))


def _shares(cgroups: Path, membership: Path) -> list[float]:
    """Processors granted by this process's group and by those above it (version 2), or by version 1's quota."""
    found = []
    for group in _groups(cgroups, membership):
        words = _words(group / "cpu.max")  # quota or "max", period
        if len(words) == 2 and words[0] != "max":
            found.append(int(words[0]) / int(words[1]))
    quota, period = (_words(cgroups / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota and period and int(quota[0]) > 0:
        found.append(int(quota[0]) / int(period[0]))
    return found


def _groups(cgroups: Path, membership: Path) -> list[Path]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return [cgroups]
    own = next((line.split(":", 2)[2].strip("/") for line in lines if line.startswith("0::")), "")
    parts = [part for part in own.split("/") if part not in ("", "..")]
    return [cgroups.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
