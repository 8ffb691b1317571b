"""Frames, deadlines and deaths, with small scripts as children."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import roastery.peer_child
from roastery.errors import RuntimeFailed, RuntimeTimedOut
from roastery.peer import MAX_FRAME, Peer

SERVE = f"""
import importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location("peer_child", {roastery.peer_child.__file__!r})
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
"""
ECHO = SERVE + "child.serve(lambda request: request)"

MakePeer = Callable[[str], Peer]


@pytest.fixture
def make_peer(tmp_path: Path) -> Iterator[MakePeer]:
    peers: list[Peer] = []

    def make(script: str) -> Peer:
        file = tmp_path / f"child_{len(peers)}.py"
        file.write_text(script)
        peers.append(Peer([sys.executable, "-I", "-u", str(file)], {"GREETING": "hello"}, name="the worker"))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


def test_a_peer_answers_each_call_from_one_process(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda request: str(os.getpid()).encode() + request)")
    assert not peer.alive
    assert peer.call(b"a", 20) == f"{peer.pid}a".encode()
    assert peer.call(b"", 20) == str(peer.pid).encode()
    assert peer.alive


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_001])
def test_a_payload_of_any_size_comes_back_whole(make_peer: MakePeer, size: int) -> None:
    payload = os.urandom(size)
    assert make_peer(ECHO).call(payload, 20) == payload


def test_the_environment_reaches_the_child(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda request: (os.environ['GREETING'] + os.environ['PATH']).encode())")
    assert peer.call(b"", 20).decode() == "hello" + os.environ["PATH"]


def test_what_the_child_prints_does_not_mix_with_its_replies(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda r: (print('noise', flush=True), os.system('echo more'), r)[2])")
    assert peer.call(b"reply", 20) == b"reply"
    assert peer.call(b"again", 20) == b"again"


def test_a_child_that_raises_is_named_with_its_last_words_and_the_next_call_starts_afresh(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda request: request if request != b'bad' else 1 / 0)")
    assert peer.call(b"good", 20) == b"good"
    first = peer.pid
    with pytest.raises(RuntimeFailed, match=r"(?s)the worker ended with exit code 1 .*ZeroDivisionError"):
        peer.call(b"bad", 20)
    assert not peer.alive
    assert peer.call(b"good", 20) == b"good"
    assert peer.pid != first


def test_a_child_that_exits_is_named_with_its_exit_code(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda request: os._exit(7))")
    with pytest.raises(RuntimeFailed, match="exit code 7 before it answered; it left no last words"):
        peer.call(b"", 20)


def test_a_child_killed_in_mid_call_is_named_with_the_signal(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda request: (sys.stderr.write('working'), os.kill(os.getpid(), 9)))")
    with pytest.raises(RuntimeFailed, match=r"(?s)was killed by SIGKILL; its last words:.working"):
        peer.call(b"", 20)


def test_a_child_killed_between_calls_is_replaced(make_peer: MakePeer) -> None:
    peer = make_peer(ECHO)
    peer.call(b"", 20)
    assert peer.pid is not None
    first = peer.pid
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert peer.call(b"again", 20) == b"again"
    assert peer.pid != first


def test_a_stopped_child_is_killed_at_the_deadline(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda request: (os.kill(os.getpid(), 19) if request else None, request)[1])")
    peer.call(b"", 20)
    first = peer.pid
    assert first is not None
    with pytest.raises(RuntimeFailed, match=r"did not answer within 0\.2 s and was killed"):
        peer.call(b"stop", 0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert peer.call(b"", 20) == b""


def test_only_what_is_over_its_time_is_told_as_that(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve(lambda request: time.sleep(1000) if request == b'wait' else os._exit(7))")
    with pytest.raises(RuntimeTimedOut, match=r"^the worker did not answer within 0\.5 s and was killed; "):
        peer.call(b"wait", 0.5)
    with pytest.raises(RuntimeFailed) as failure:
        peer.call(b"", 20)
    assert not isinstance(failure.value, RuntimeTimedOut)


def test_a_child_of_one_answer_ends_by_itself_when_it_has_done_what_was_left(
    make_peer: MakePeer, tmp_path: Path
) -> None:
    last = tmp_path / "last"
    peer = make_peer(SERVE + f"child.serve_once(lambda r: r)\ntime.sleep(0.3)\nopen({str(last)!r}, 'w').write('done')")
    assert peer.call(b"once", 20) == b"once"
    child = peer._child
    assert child is not None
    peer.await_end(20)
    assert not peer.alive
    assert last.read_text() == "done"
    peer.close()
    assert child.process.returncode == 0
    assert peer.call(b"again", 20) == b"again", "by a new one"
    assert peer._child is not child


def test_who_waits_for_a_childs_end_waits_no_longer_than_he_said(make_peer: MakePeer) -> None:
    peer = make_peer(ECHO)
    peer.await_end(20)
    peer.call(b"", 20)
    started = time.monotonic()
    peer.await_end(0.2)
    assert 0.2 <= time.monotonic() - started < 10
    assert peer.alive


def test_a_child_of_one_answer_ends_when_its_parent_does_before_it(make_peer: MakePeer) -> None:
    peer = make_peer(SERVE + "child.serve_once(lambda r: r)\ntime.sleep(1000)")
    peer.call(b"", 20)
    child = peer._child
    assert child is not None
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.process.wait(20) == 0


def test_descriptors_are_inherited_where_that_is_said_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "child.py"
    file.write_text(
        SERVE + "def handle(request):\n"
        "    one, other = map(int, request.split())\n"
        "    os.write(one, b'from the child')\n"
        "    try:\n"
        "        os.fstat(other)\n"
        "    except OSError:\n"
        "        return b'one'\n"
        "    return b'both'\n"
        "child.serve(handle)"
    )
    reading, writing = os.pipe()
    os.set_inheritable(reading, False)
    try:
        with Peer([sys.executable, "-I", str(file)], inherits=(writing,)) as peer:
            assert peer.call(f"{writing} {reading}".encode(), 20) == b"one"
            assert os.read(reading, 99) == b"from the child"
    finally:
        os.close(reading)
        os.close(writing)


def test_what_the_child_started_dies_with_it(make_peer: MakePeer) -> None:
    peer = make_peer(
        SERVE + "import subprocess\n"
        "def handle(request):\n"
        "    print(subprocess.Popen(['sleep', '1000']).pid, file=sys.stderr, flush=True)\n"
        "    time.sleep(1000)\n"
        "child.serve(handle)"
    )
    with pytest.raises(RuntimeFailed) as failure:
        peer.call(b"", 1.0)
    grandchild = int(str(failure.value).split()[-1])
    # Its parent is gone; whoever adopts it may be slow to reap it, so a zombie counts as dead.
    status = Path(f"/proc/{grandchild}/stat")
    for _ in range(200):
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.01)
    pytest.fail(f"process {grandchild} still runs")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os; os.read(0, 1); os.write(1, b'not a frame, but a warning of some library')", "what is not a frame"),
        ("import os; os.read(0, 1); os.write(1, b'roastery' + b'\\xff' * 8); os.read(0, 99)", "over the limit"),
        ("import os; os.read(0, 1); os.write(1, b'roastery' + bytes(8) + b'tail')", "more than one frame"),
        ("import os; os.write(1, b'roaste')", "before it answered"),
        ("import os, time; os.close(1); time.sleep(1000)", "closed its pipe without an answer"),
        ("import os; os.write(1, b'roastery' + (9).to_bytes(8, 'big') + b'half')", "before it answered"),
    ],
)
def test_garbage_on_the_pipe_is_an_error_and_not_a_reply(make_peer: MakePeer, script: str, message: str) -> None:
    with pytest.raises(RuntimeFailed, match=message):
        make_peer(script).call(b"", 20)


def test_a_reply_that_nobody_asked_for_is_not_taken_for_the_next_one(make_peer: MakePeer) -> None:
    peer = make_peer(
        "import os\n"
        "os.read(0, 16)\n"
        "frame = b'roastery' + (1).to_bytes(8, 'big')\n"
        "os.write(1, frame + b'1')\n"
        "os.read(0, 16)\n"
        "os.write(1, frame + b'2')\n"
        "os.write(2, b'stale')\n"
        "os.read(0, 16)\n"
    )
    assert peer.call(b"", 20) == b"1"
    assert peer.pid is not None
    # A request from beside the peer's back draws the stale reply.
    child = peer._child
    assert child is not None
    os.write(child.process.stdin.fileno(), b"x" * 16)  # type: ignore[union-attr]
    while b"stale" not in child._said:
        time.sleep(0.01)
    with pytest.raises(RuntimeFailed, match="spoke without being asked"):
        peer.call(b"", 20)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(RuntimeFailed, match=r"ghost could not be started: .*/no/such/program"):
        Peer(["/no/such/program"], None, name="ghost").call(b"", 20)


def test_a_request_over_the_limit_is_refused_without_a_child(make_peer: MakePeer) -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_FRAME + 1

    peer = make_peer(ECHO)
    with pytest.raises(RuntimeFailed, match="over the limit"):
        peer.call(Huge(), 20)
    assert peer.pid is None


def test_close_from_another_thread_ends_a_call(make_peer: MakePeer) -> None:
    peer = make_peer(
        SERVE + "def handle(request):\n    sys.stderr.write('busy')\n    time.sleep(1000)\nchild.serve(handle)"
    )

    def close_when_busy() -> None:
        while peer._child is None or b"busy" not in peer._child._said:
            time.sleep(0.01)
        peer.close()

    closer = threading.Thread(target=close_when_busy)
    closer.start()
    with pytest.raises(RuntimeFailed, match="was killed by SIGKILL"):
        peer.call(b"", None)
    closer.join(20)
    assert not peer.alive


def test_a_child_ends_when_its_parent_does(make_peer: MakePeer, tmp_path: Path) -> None:
    """The child is busy for good when its stdin ends: it must go all the same."""
    peer = make_peer(
        SERVE + "def handle(request):\n    sys.stderr.write('busy')\n    time.sleep(1000)\nchild.serve(handle)"
    )

    def call() -> None:
        with pytest.raises(RuntimeFailed, match="exit code 0 before it answered"):
            peer.call(b"", 20)

    thread = threading.Thread(target=call)
    thread.start()
    while peer._child is None or b"busy" not in peer._child._said:
        time.sleep(0.01)
    child = peer._child
    assert child.process.stdin is not None
    # What the kernel does when the parent dies.
    os.dup2(os.open(os.devnull, os.O_WRONLY), child.process.stdin.fileno())
    thread.join(20)
    assert child.process.returncode == 0
