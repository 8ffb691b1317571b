"""How many threads a run takes, of a setting that PyTorch has for the whole process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch


class _Usual:
    """The process's own number while runs with one of their own are under way."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.runs = 0
        self.threads = 0


_usual = _Usual()


@contextmanager
def threads_of_run(count: int | None) -> Iterator[None]:
    """PyTorch's threads are `count` inside, for this thread; afterwards what they were. None leaves them alone.

    `torch.set_num_threads` sets the calling thread's number, and what threads get that ask for the first time. Runs
    that overlap in several threads therefore each have theirs, and the last to end puts the process's number back.
    """
    if count is None:
        yield
        return
    with _usual.lock:
        if _usual.runs == 0:
            _usual.threads = torch.get_num_threads()
        _usual.runs += 1
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _usual.lock:
            _usual.runs -= 1
            torch.set_num_threads(_usual.threads)
