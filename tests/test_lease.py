"""The lease: one holds it at a time, and a holder that died, was suspended or was cut off blocks nobody for long."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roastery.filesystem import listed, open_filesystem
from roastery.lease import Lease

# Far longer than any test waits: who gets it did not wait for it to lapse.
LONG = 600.0


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where leases lie: a folder, and S3."""
    return f"{request.getfixturevalue('s3') if request.param == 's3' else tmp_path}/leases"


def lease_in(url: str, seconds: float = LONG) -> Lease:
    filesystem, root = open_filesystem(url)
    return Lease(filesystem, f"{root}/name", seconds)


def files_in(url: str) -> dict[str, bytes]:
    filesystem, root = open_filesystem(url)
    return {name: filesystem.cat_file(f"{root}/{name}") for name in sorted(listed(filesystem, root))}


def write(url: str, generation: int, content: bytes) -> None:
    filesystem, root = open_filesystem(url)
    if "://" not in url:
        filesystem.makedirs(root, exist_ok=True)
    filesystem.pipe_file(f"{root}/name.{generation}", content)


HOLD = """
import sys, time
from roastery.filesystem import open_filesystem
from roastery.lease import Lease
filesystem, root = open_filesystem(sys.argv[1])
with Lease(filesystem, f"{root}/name", 600.0) as lease:
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lease_leaves_nothing_behind(url: str) -> None:
    with lease_in(url) as lease:
        assert lease.held()
        assert list(files_in(url)) == ["name.0"]
    assert files_in(url) == {}


def test_a_killed_holder_is_followed_at_once(url: str, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    with lease_in(url):
        assert list(files_in(url)) == ["name.1"]
    assert files_in(url) == {}


def test_one_killed_while_it_took_over_is_followed_at_once(url: str, holder: subprocess.Popen[str]) -> None:
    """Its own file was there, and that of the dead holder before it still too."""
    os.kill(holder.pid, signal.SIGKILL)
    dead = json.loads(files_in(url)["name.0"])
    write(url, 1, json.dumps(dead | {"owner": "another"}).encode())
    with lease_in(url):
        assert list(files_in(url)) == ["name.2"]
    assert files_in(url) == {}


def test_a_process_that_was_given_the_id_of_a_dead_holder_is_not_the_holder(
    url: str, holder: subprocess.Popen[str]
) -> None:
    holding = json.loads(files_in(url)["name.0"])
    holder.kill()
    write(url, 0, json.dumps(holding | {"pid": os.getppid()}).encode())
    with lease_in(url):
        assert list(files_in(url)) == ["name.1"]


def test_what_this_process_left_behind_does_not_block_it(url: str) -> None:
    with lease_in(url):
        (mine,) = files_in(url).values()
    write(url, 0, mine)
    with lease_in(url):
        assert list(files_in(url)) == ["name.1"]


@pytest.mark.parametrize("change", [{"machine": "elsewhere"}, {"machine": "elsewhere", "pid": 1}])
def test_the_holder_on_another_machine_is_followed_when_its_beat_stands_still(
    url: str, holder: subprocess.Popen[str], change: dict[str, Any]
) -> None:
    """Its process's id, dead or alive here, says nothing of it."""
    content = json.loads(files_in(url)["name.0"])
    holder.kill()
    write(url, 0, json.dumps(content | change).encode())
    started = time.monotonic()
    with lease_in(url, seconds=0.5):
        assert time.monotonic() - started >= 0.5
    assert files_in(url) == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pid": "1"}', b"\xff"])
def test_a_file_that_was_never_written_whole_is_followed_when_it_stands_still(url: str, content: bytes) -> None:
    write(url, 0, content)
    started = time.monotonic()
    with lease_in(url, seconds=0.2) as lease:
        assert time.monotonic() - started >= 0.2
        assert lease.held()


def test_a_lease_whose_beat_goes_on_is_not_taken_over(url: str) -> None:
    got = threading.Event()
    with lease_in(url, seconds=0.4) as first:

        def other() -> None:
            with lease_in(url, seconds=0.4):
                got.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert not got.wait(1.5)
        assert first.held()
    thread.join(20)
    assert got.is_set()


def test_a_holder_that_stood_still_knows_that_it_was_followed_and_leaves_its_follower_alone(url: str) -> None:
    script = HOLD.replace("600.0", "0.4").replace(
        "time.sleep(600)", "sys.stdin.readline(); print(lease.held(), flush=True)"
    )
    command = [sys.executable, "-c", script, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        with lease_in(url, seconds=0.4) as follower:
            os.kill(holder.pid, signal.SIGCONT)
            assert holder.communicate("\n", timeout=60)[0] == "False\n"
            assert follower.held()
            assert list(files_in(url)) == ["name.1"]
    assert files_in(url) == {}


RACE = """
import os, sys
from roastery.filesystem import open_filesystem
from roastery.lease import Lease
filesystem, root = open_filesystem(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    with Lease(filesystem, f"{root}/name", 600.0) as lease:
        # Who else holds it has made this file, and making it again fails.
        os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))
        assert lease.held()
        os.unlink(sys.argv[2])
"""


def test_of_processes_that_race_one_at_a_time_holds(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, url, str(tmp_path / "held"), "15"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[1] for racer in racers]
    assert [(racer.returncode, words) for racer, words in zip(racers, said, strict=True)] == [(0, "")] * 3
    assert files_in(url) == {}


def test_a_claim_whose_answer_was_lost_is_known_again(s3: str, s3_gate: Any) -> None:
    s3_gate.stop("PUT", "/leases/name.0", "cut", times=1)
    with lease_in(f"{s3}/leases") as lease:
        assert lease.held()
        assert list(files_in(f"{s3}/leases")) == ["name.0"]
    assert s3_gate.stopped == 1


def test_a_release_that_is_refused_does_not_block_the_process_that_asked_for_it(s3: str, s3_gate: Any) -> None:
    s3_gate.stop("DELETE", "/leases/name.0", "AccessDenied", times=1)
    with lease_in(f"{s3}/leases"):
        pass
    assert s3_gate.stopped == 1
    assert list(files_in(f"{s3}/leases")) == ["name.0"]
    with lease_in(f"{s3}/leases"):
        assert list(files_in(f"{s3}/leases")) == ["name.1"]


def test_a_beat_that_is_refused_is_made_up_for_by_the_next(s3: str, s3_gate: Any) -> None:
    with lease_in(f"{s3}/leases", seconds=0.4) as lease:
        s3_gate.stop("PUT", "/leases/name.0", "AccessDenied", times=2)
        first = files_in(f"{s3}/leases")
        deadline = time.monotonic() + 20
        while files_in(f"{s3}/leases") == first:
            assert time.monotonic() < deadline, "it beats no more"
        assert s3_gate.stopped == 2
        assert lease.held()


@pytest.mark.parametrize("there", [{1: b"another's"}, {0: b"another's"}, {0: b"the dead one's", 1: b"another's"}])
def test_a_claim_on_what_has_changed_since_it_was_looked_at_is_given_up(url: str, there: dict[int, bytes]) -> None:
    """What was free was claimed meanwhile, or what was dead was followed and its name used again."""
    looked_at = {0: b"the dead one's"} if 0 in there else {}
    for generation, content in there.items():
        write(url, generation, content)
    assert not lease_in(url)._claim(looked_at)
    assert files_in(url) == {f"name.{generation}": content for generation, content in there.items()}
