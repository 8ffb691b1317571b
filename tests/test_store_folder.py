"""What only a folder shows of a store: builders killed at any step, rights that are taken and given, files in place."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roastery.store import MANIFEST, Store

KEY = "0" * 64
PIPES: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

# It forks, before it has any thread, a builder that kills itself before the n-th step that changes a folder or a file.
KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from roastery.store import Store

KEY = "0" * 64
STEPS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")

def fill(root):
    with Store(str(root)).build("trace", KEY) as build:
        for name in ("a.txt", "z.txt"):
            (build.directory / name).write_text("whole")
    return Store(str(root)).fetch(build.ref)

def die_at(number, root):
    steps = itertools.count(1)
    def hook(event, arguments):
        written = event == "open" and str(arguments[0]).startswith(str(root)) and arguments[2] & os.O_ACCMODE
        if (written or event in STEPS) and next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

for number in itertools.count(1):
    root = Path(sys.argv[1], str(number))
    # One is there and damaged, so that it is cleared first.
    (fill(root) / "a.txt").write_text("WHOLE")
    builder = os.fork()
    if not builder:
        die_at(number, root)
        fill(root)
        os._exit(0)
    status = os.waitpid(builder, 0)[1]
    if not status:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    print("whole" if Store(str(root)).find("trace", KEY) else "absent", flush=True)
    folder = fill(root)
    assert {path.name: path.read_text() for path in folder.glob("*.txt")} == {"a.txt": "whole", "z.txt": "whole"}
    left = [path for name in (".work", ".leases/trace") for path in (root / name).iterdir()]
    assert left == [], left
"""


def test_a_builder_killed_at_any_step_leaves_what_the_next_makes_whole(tmp_path: Path) -> None:
    """At once: none waits for a lease to lapse."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = done.stdout.split()
    first = found.index("whole")
    assert first > 12, "lease, folders, two files to write and to move, what was there to clear, the manifest"
    assert set(found[:first]) == {"absent"}
    assert set(found[first:]) == {"whole"}, "whole from its manifest on"


# As root it becomes another user, whom rights concern. What Python imports late it has imported by then.
REFUSED = """
import os, sys
from roastery.errors import StoreRefused
from roastery.store import Store
store = Store(sys.argv[1])
with Store(sys.argv[2]).build("trace", "0" * 64):
    pass
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)

def fill():
    sys.stdin.readline()
    with store.build("trace", "0" * 64) as build:
        (build.directory / "a.txt").write_text("hello")
        print("inside", flush=True)
        sys.stdin.readline()
    print(build.ref.files["a.txt"], flush=True)

try:
    fill()
except StoreRefused as error:
    print(error, flush=True)
fill()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, as pytest's own cannot be."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    store = folder / "store"
    store.mkdir()
    store.chmod(0o777)
    yield store
    shutil.rmtree(folder)


def set_rights(folder: Path, mode: int) -> None:
    for each in [folder, *folder.rglob("*")]:
        if each.is_dir():
            each.chmod(mode)


@pytest.mark.parametrize("when", ["before the lease", "before the upload"])
def test_a_folder_that_refuses_a_write_and_then_allows_it(open_folder: Path, tmp_path: Path, when: str) -> None:
    command = [sys.executable, "-c", REFUSED, str(open_folder), str(tmp_path)]
    with subprocess.Popen(command, **PIPES) as builder:
        assert builder.stdin is not None
        assert builder.stdout is not None

        def go_on() -> str:
            builder.stdin.write("\n")
            builder.stdin.flush()
            return str(builder.stdout.readline()).strip()

        if when == "before the upload":
            assert go_on() == "inside"
        set_rights(open_folder, 0o555)
        said = go_on()
        assert said.startswith(f"{open_folder}/")
        assert said.endswith(": Permission denied; make it writable or name another store")
        assert list(open_folder.rglob(MANIFEST)) == []

        set_rights(open_folder, 0o777)
        started = time.monotonic()
        assert go_on() == "inside"
        assert time.monotonic() - started < 20, "waited for its own lease to lapse"
        assert len(go_on()) == 64
        assert builder.communicate(timeout=20)[1] == ""
    assert builder.returncode == 0
    assert (open_folder / "trace" / KEY / "a.txt").read_text() == "hello"
    assert [path for name in (".work", ".leases/trace") for path in (open_folder / name).iterdir()] == []


def test_a_file_that_is_read_stays_as_it_was_while_the_artifact_is_built_again(tmp_path: Path) -> None:
    def fill(text: str) -> Path:
        with Store(str(tmp_path)).build("trace", KEY) as build:
            (build.directory / "a.txt").write_text(text)
            (build.directory / "b.txt").write_text(text)
        return Store(str(tmp_path)).fetch(build.ref)

    folder = fill("first")
    with (folder / "a.txt").open() as reading:
        (folder / "b.txt").write_text("wrong")
        assert (fill("again") / "a.txt").read_text() == "again"
        assert reading.read() == "first"


def test_the_work_folder_of_a_killed_builder_whose_key_never_comes_again_goes_after_a_week(tmp_path: Path) -> None:
    left, young = tmp_path / ".work" / f"trace-{'1' * 64}-x", tmp_path / ".work" / f"trace-{'2' * 64}-x"
    for folder in (left, young):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"half")
    week = time.time() - 8 * 24 * 3600
    os.utime(left, (week, week))
    with Store(str(tmp_path)).build("trace", KEY) as build:
        (build.directory / "a.txt").write_text("hello")
    assert list((tmp_path / ".work").iterdir()) == [young]
