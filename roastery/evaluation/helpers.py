"""Threads that do what lies beside a model's work: reading ahead, and writing down.

A model of two threads keeps two cores busy but for the moments in which it has work for one. There is a helper for each
thread of the model's beyond its first, at most two, so that a process stays within the threads that it was given
(`pipeline.yaml`: threads), and a helper's threads have the lowest priority that Linux knows: they run in those moments,
and the model's time is what it is without them. A process of one thread has no helpers: it does one after the other.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

_MOST = 2
_LOWEST_PRIORITY = 19
T = TypeVar("T")


def helper_threads() -> int:
    """How many helpers this process may have: none where PyTorch has one thread."""
    return min(torch.get_num_threads() - 1, _MOST)


class Helpers:
    """So many threads, which do what they are given in its order; without any, it is done at once.

    As a context manager it lets go of what has not begun, and waits for what has.
    """

    def __init__(self, count: int) -> None:
        self._pool = (
            ThreadPoolExecutor(count, thread_name_prefix="helper", initializer=_step_back) if count > 0 else None
        )

    def submit(self, task: Callable[[], T]) -> "Future[T]":
        """What the task gives, or raises, when it is done."""
        if self._pool is not None:
            return self._pool.submit(task)
        done: Future[T] = Future()
        try:
            done.set_result(task())
        except Exception as error:  # noqa: BLE001  (who asks for the result has it raised, as of a helper)
            done.set_exception(error)
        return done

    def ahead(self, tasks: Sequence[Callable[[], T]]) -> Iterator[Callable[[], T]]:
        """For each task a function that gives its result. The next one is begun before one is handed out."""
        if self._pool is None:
            yield from tasks
            return
        following = self.submit(tasks[0]) if tasks else None
        for place in range(len(tasks)):
            assert following is not None
            ready = following
            following = self.submit(tasks[place + 1]) if place + 1 < len(tasks) else None
            yield ready.result

    def __enter__(self) -> "Helpers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _step_back() -> None:
    # Elsewhere a priority is the whole process's.
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
