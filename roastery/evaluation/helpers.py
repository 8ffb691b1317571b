"""Threads that do what lies beside a model's work: reading ahead, and writing down.

A model of two threads keeps two cores busy but for the moments in which it has work for one. There is a helper for each
thread of the model's beyond its first, at most two, so that a process stays within the threads that it was given
(`pipeline.yaml`: threads); and a helper steps back behind the model (`nice` 10: a tenth of a thread's share where all
cores are busy), so that it works in those moments and hardly touches what is measured of the model. What no helper has
begun when it is asked for, is done by who asks. A process of one thread has no helpers: it does one after the other.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

_MOST = 2
# Of none that is lower still: a helper that does not get to run for others' sake may hold Python's lock meanwhile.
_PRIORITY = 10
T = TypeVar("T")


def helper_threads() -> int:
    """How many helpers this process may have: none where PyTorch has one thread."""
    return min(torch.get_num_threads() - 1, _MOST)


class Helpers:
    """So many threads, which do what they are given in its order.

    As a context manager it lets go of what has not begun, and waits for what has.
    """

    def __init__(self, count: int) -> None:
        self._pool = (
            ThreadPoolExecutor(count, thread_name_prefix="helper", initializer=_step_back) if count > 0 else None
        )

    def begin(self, task: Callable[[], T]) -> Callable[[], T]:
        """A function that gives what the task gives, or raises, when it is done. Without helpers it is done at once."""
        if self._pool is None:
            done: Future[T] = Future()
            try:
                done.set_result(task())
            except Exception as error:  # noqa: BLE001  (who asks for the result has it raised, as of a helper)
                done.set_exception(error)
            return done.result
        future = self._pool.submit(task)
        return lambda: task() if future.cancel() else future.result()

    def ahead(self, tasks: Iterable[Callable[[], T]]) -> Iterator[Callable[[], T]]:
        """For each task a function that gives its result. The next one is begun before one is handed out.

        Without helpers none is begun: it is done when its result is asked for.
        """
        if self._pool is None:
            yield from tasks
            return
        ready: Callable[[], T] | None = None
        for task in tasks:
            following = self.begin(task)
            if ready is not None:
                yield ready
            ready = following
        if ready is not None:
            yield ready

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
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _PRIORITY)
