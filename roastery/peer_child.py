"""The child's side of `roastery/peer.py`: answer frames.

Standard library only, and written for CPython 3.8 on: interpreters load it that have nothing else of Roastery.
"""

import os
import queue
import sys
import threading
from typing import Callable, Optional  # noqa: UP035  (CPython 3.8)

MAGIC = b"roastery"
LENGTH_BYTES = 8
# Over any net that fits a workstation; a length beyond it is garbage, and must not be allocated.
MAX_FRAME = 4 << 30


def frame_header(length: int) -> bytes:
    """What goes before a payload of `length` bytes."""
    return MAGIC + length.to_bytes(LENGTH_BYTES, "big")


def serve(handle: Callable[[bytes], bytes]) -> None:
    """Answer each request with `handle(request)` until stdin ends.

    Nothing but frames goes to the real stdout: what the process, or a library in it, prints goes to stderr. The whole
    process ends at once when stdin ends, whatever it is at: nobody is left to take the answer. What `handle` raises
    ends the process too, with its traceback as last words.
    """
    requests, replies = _open()
    while True:
        _reply(replies, handle(requests.get()))


def serve_once(handle: Callable[[bytes], bytes]) -> None:
    """Answer one request, as `serve` does, and return."""
    requests, replies = _open()
    _reply(replies, handle(requests.get()))


def _open() -> "tuple[queue.SimpleQueue[bytes], int]":
    """Where requests come from, and the descriptor that replies go to."""
    asked, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(asked, requests), daemon=True).start()
    return requests, replies


def _reply(replies: int, reply: bytes) -> None:
    _write(replies, frame_header(len(reply)))
    _write(replies, reply)


def _receive(asked: int, requests: "queue.SimpleQueue[bytes]") -> None:
    while True:
        header = _read(asked, len(MAGIC) + LENGTH_BYTES)
        if header is None:
            os._exit(0)
        length = int.from_bytes(header[len(MAGIC) :], "big")
        if header[: len(MAGIC)] != MAGIC or length > MAX_FRAME:
            _die("stdin holds what is not a frame: {!r}".format(bytes(header)))  # noqa: UP032
        payload = _read(asked, length)
        if payload is None:
            os._exit(0)
        requests.put(payload)


def _read(descriptor: int, length: int) -> Optional[bytes]:  # noqa: UP045
    """That many bytes; None where it ends first."""
    received = bytearray()
    while len(received) < length:
        chunk = os.read(descriptor, min(1 << 20, length - len(received)))
        if not chunk:
            return None
        received += chunk
    return bytes(received)


def _write(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view[: 1 << 20]) :]


def _die(why: str) -> None:
    sys.stderr.write(why + "\n")
    sys.stderr.flush()
    os._exit(3)
