"""Processes seen from outside."""

import contextlib
from collections.abc import Iterable

import psutil


def runs(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def running_module(processes: Iterable[psutil.Process], module: str) -> psutil.Process | None:
    """The first of them that runs that Python module."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if module in process.cmdline():
                return process
    return None
