"""A process beside this one that answers frames: start it, call it, end it, say what it said last.

A frame is eight bytes of magic, the payload's length as eight bytes (big-endian), and the payload. The child reads
requests from its stdin and writes one reply for each to its stdout; its stderr is kept for its last words. The child's
side is `roastery/peer_child.py`.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO

from roastery.errors import RuntimeFailed, RuntimeTimedOut
from roastery.peer_child import LENGTH_BYTES, MAGIC, MAX_FRAME, frame_header

_CHUNK = 1 << 20
_HEADER = len(MAGIC) + LENGTH_BYTES
_LAST_WORDS = 4000
# How long a child may take to end by itself once its stdin is closed, and to be reaped once it is killed.
_GRACE_SECONDS = 2.0


class Peer:
    """A child process that is started with the first call, and again with the next call after it has ended.

    Calls from several threads wait for each other. `close` and `kill` may come from any thread: a call under way then
    raises.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        name: str = "worker",
        inherits: Sequence[int] = (),
    ) -> None:
        """Say what to start.

        Args:
            command: program and arguments; no shell is involved.
            env: variables that are set over this process's own.
            name: how errors name the child.
            inherits: further file descriptors that the child has, under the same numbers.
        """
        self.name = name
        self._inherits = tuple(inherits)
        self._command = [str(part) for part in command]
        self._env = dict(env or {})
        self._lock = threading.Lock()
        self._child: _Child | None = None

    @property
    def alive(self) -> bool:
        """Whether the child runs now (before the first call it does not)."""
        child = self._child
        return child is not None and not child.has_ended()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is a child."""
        child = self._child
        return None if child is None else child.process.pid

    def call(self, payload: bytes, timeout: float | None) -> bytes:
        """Send a frame and wait for the reply.

        Args:
            payload: the request, at most `MAX_FRAME` bytes.
            timeout: seconds for the whole call, the child's start with it; None waits for ever.

        Raises:
            RuntimeTimedOut: the child did not answer in time; it is killed.
            RuntimeFailed: that, or the child could not be started, died or answered with what is not a frame. The
                message ends with its last words. The next call starts a new child.
        """
        if len(payload) > MAX_FRAME:
            raise RuntimeFailed(f"{self.name}: a request of {len(payload)} bytes is over the limit of {MAX_FRAME}")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            if self._child is not None and self._child.has_ended():
                self._drop().end(grace=0.0)
            if self._child is None:
                self._child = self._start()
            try:
                return self._child.exchange(payload, deadline)
            except _NoReplyError as failure:
                child = self._drop()
                words = child.end(grace=0.0 if failure.kill else _GRACE_SECONDS)
                if isinstance(failure, _LateError):
                    raise RuntimeTimedOut(
                        f"{self.name} did not answer within {timeout:g} s and was killed; {words}"
                    ) from None
                raise RuntimeFailed(f"{self.name} {failure.reason or child.ending()}; {words}") from None
            except BaseException:
                # A half-sent request would be continued by the next one.
                self._drop().end(grace=0.0)
                raise

    def await_end(self, seconds: float) -> None:
        """Let a child that ends by itself after its answer do so, for so long; `close` ends it in any case."""
        child = self._child
        if child is not None:
            child.await_end(seconds)

    def kill(self) -> None:
        """Kill the child, and all that it started, at once."""
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the child: it sees the end of its stdin, and is killed if it does not go. May be called again."""
        if not self._lock.acquire(blocking=False):
            self.kill()
            self._lock.acquire()
        try:
            if self._child is not None:
                self._drop().end(grace=_GRACE_SECONDS)
        finally:
            self._lock.release()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> "_Child":
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | self._env,
                # A group of its own, so that killing it reaches what it started.
                start_new_session=True,
                pass_fds=self._inherits,
            )
        except OSError as error:
            raise RuntimeFailed(f"{self.name} could not be started: {error}") from error
        return _Child(process)

    def _drop(self) -> "_Child":
        child = self._child
        assert child is not None
        self._child = None
        return child


class _NoReplyError(Exception):
    """The exchange failed. An empty reason: the child ended, and its exit code says how."""

    def __init__(self, reason: str, kill: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kill = kill


class _LateError(_NoReplyError):
    """The deadline passed."""


class _Child:
    """One running child and its pipes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._stderr = process.stderr
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._said = bytearray()
        self._forced = False
        self._listener = threading.Thread(
            target=_listen, args=(process.stderr, self._said), name="peer-stderr", daemon=True
        )
        self._listener.start()

    def exchange(self, payload: bytes, deadline: float | None) -> bytes:
        """Write the request and read the reply side by side: neither may wait for the other on a full pipe."""
        with contextlib.suppress(BlockingIOError):
            unasked = self._read()
            raise _NoReplyError(f"spoke without being asked ({unasked[:40]!r}) and was killed", kill=True)
        to_send = [memoryview(frame_header(len(payload))), memoryview(payload)]
        received = bytearray()
        expected: int | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            selector.register(self._stdout, selectors.EVENT_READ)
            while expected is None or len(received) < expected:
                remaining = None if deadline is None else deadline - time.monotonic()
                events = [] if remaining is not None and remaining <= 0 else selector.select(remaining)
                if not events and remaining is not None and deadline is not None and time.monotonic() >= deadline:
                    raise _LateError("", kill=True)
                for key, _ in events:
                    if key.fileobj is self._stdin:
                        if not _send(self._stdin.fileno(), to_send):
                            selector.unregister(self._stdin)
                        continue
                    received += self._read()
                    if expected is None and len(received) >= _HEADER:
                        expected = _frame_size(received)
                if expected is not None and len(received) > expected:
                    raise _NoReplyError("answered with more than one frame and was killed", kill=True)
        if to_send:
            raise _NoReplyError("answered before it had read the request and was killed", kill=True)
        return bytes(memoryview(received)[_HEADER:])

    def _read(self) -> bytes:
        chunk = os.read(self._stdout.fileno(), _CHUNK)
        if not chunk:
            raise _NoReplyError("", kill=False)
        return chunk

    def has_ended(self) -> bool:
        # Without reaping it: until then its id, and its group's, cannot become another process's.
        if self.process.returncode is not None:
            return True
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def await_end(self, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while not self.has_ended() and time.monotonic() < give_up:
            time.sleep(0.01)

    def kill(self) -> None:
        # The group outlives its leader where something that it started runs on.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def end(self, grace: float) -> str:
        """Let the child end, or make it; returns its last words."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self.await_end(grace)
        self._forced = not self.has_ended()
        self.kill()
        self.process.wait()
        self._stdout.close()
        self._listener.join(_GRACE_SECONDS)
        if not self._listener.is_alive():
            self._stderr.close()
        said = bytes(self._said[-_LAST_WORDS:]).decode("utf-8", errors="replace").strip()
        return f"its last words:\n{said}" if said else "it left no last words"

    def ending(self) -> str:
        code = self.process.returncode
        if self._forced:
            return "closed its pipe without an answer and was killed"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code} before it answered"


def _send(descriptor: int, to_send: list[memoryview]) -> bool:
    """Write what the pipe takes; False when all is written or nobody reads any more."""
    while to_send:
        try:
            written = os.write(descriptor, to_send[0][:_CHUNK])
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # The child's end, or its complaint, comes by the other pipe.
            return False
        to_send[0] = to_send[0][written:]
        if not to_send[0]:
            to_send.pop(0)
    return False


def _frame_size(received: bytearray) -> int:
    """The size of the frame that begins here, header included."""
    length = int.from_bytes(received[len(MAGIC) : _HEADER], "big")
    if bytes(received[: len(MAGIC)]) != MAGIC:
        raise _NoReplyError(f"answered with what is not a frame ({bytes(received[:40])!r}) and was killed", kill=True)
    if length > MAX_FRAME:
        raise _NoReplyError(f"announced a reply of {length} bytes, over the limit, and was killed", kill=True)
    return _HEADER + length


def _listen(stderr: IO[bytes], said: bytearray) -> None:
    while chunk := os.read(stderr.fileno(), 4096):
        said += chunk
        del said[:-_LAST_WORDS]
