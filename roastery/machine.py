"""What of this machine a process may use, and how many models at a time that gives.

A container's limits are its control group's: how many processors' time, and how much memory. psutil and the affinity of
a process tell the machine's own.
"""

import math
import os
from pathlib import Path

import psutil

from roastery.spec import PipelineConfig

MEMORY_OF_A_MODEL = 3 << 30
"""What a full-size model takes at the most, with room to spare (`benchmarks/conversion.py`: 1.3 GiB)."""

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def cores() -> int:
    """How many processors' time this process may take."""
    quota = min((_quota(group) for group in _groups("cpu")), default=math.inf)
    return max(1, min(len(os.sched_getaffinity(0)), math.ceil(quota) if math.isfinite(quota) else os.cpu_count() or 1))


def memory_available() -> int:
    """How many bytes of memory this process may take yet."""
    left = (_left(group) for group in _groups("memory"))
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *(each for each in left if each is not None)]))


def processes_and_threads(pipeline: PipelineConfig) -> tuple[int, int]:
    """How many models at once, and threads of each.

    Two models of one thread are done sooner than one after the other of two (`benchmarks/fleet.py`), so there is one
    for each core, unless memory is short or the pipeline says otherwise.
    """
    own = cores()
    processes = pipeline.processes or max(1, min(own, memory_available() // MEMORY_OF_A_MODEL))
    return processes, pipeline.threads or max(1, own // processes)


def _groups(controller: str) -> list[Path]:
    """The control group of this process and those above it, as far as they are seen here, for a controller.

    Each line of /proc/self/cgroup is `id:controllers:path`; version 2 has one, without controllers.
    """
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CONTROL_GROUPS / controllers if controllers else _CONTROL_GROUPS
        own = root / path.lstrip("/")
        # Inside of a container the path is often that of the machine outside, and the mount is the group itself.
        found += [group for group in (own, *own.parents) if group.is_relative_to(root) and group.is_dir()]
    return found


def _quota(group: Path) -> float:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else math.inf
    except (OSError, ValueError):
        return math.inf


def _left(group: Path) -> int | None:
    """A group's limit less what is used, without the pages of files that the kernel gives up when asked."""
    names = ("memory.max", "memory.current") if (group / "memory.max").exists() else None
    limit_name, used_name = names or ("memory.limit_in_bytes", "memory.usage_in_bytes")
    try:
        limit, used = int((group / limit_name).read_text()), int((group / used_name).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        # "max": there is no limit.
        return None
    return limit - used + int(stat.get("inactive_file" if names else "total_inactive_file", 0))
