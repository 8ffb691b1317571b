"""Fuzzing: inputs that hypothesis makes, each read under watch in a child of its own.

500 inputs by default, the same ones each time; ROASTERY_FUZZ_INPUTS says how many else, and ROASTERY_FUZZ_SEED makes
them others (`make fuzz`). They are shared out among the tests that are run. Known attacks are tried each time, beside.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants

DEFAULT_INPUTS = 500
CPU_SECONDS = 5
"""Of processor time, which a child may take."""
WALL_SECONDS = 20
"""Until a child counts as hung, on a machine that is busy."""

# An input: file name to its bytes, or to a link or a pipe; and what the reader is told beside.
Special = tuple[str, str]
Files = Mapping[str, bytes | Special]
Input = tuple[Files, Sequence[str]]

_tried: dict[str, dict[str, int]] = {}


class Independent(HypothesisProvider):
    """Draws each input for itself.

    hypothesis's own way makes five more of each input by repeating pieces of it: among a few dozen, most would be such.
    And it takes constants out of whatever modules are imported: a seed would stand for other inputs in another process.
    """

    _local_constants = Constants()


AVAILABLE_PROVIDERS["independent"] = Independent


class WatchedReading:
    """The server that reads inputs in children under watch."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("watch_server.py"))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
        )

    def read(
        self,
        reader: str,
        files: Files,
        told: Sequence[str],
        base: Path,
        *,
        reads_anywhere: bool = False,
        warm: bool = False,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> dict[str, str]:
        """Lay the input out below `base`, have it read, and look whether anything else was written."""
        shutil.rmtree(base, ignore_errors=True)
        folders = {name: base / name for name in ("input", "outside", "elsewhere", "written")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        lay_out({"secret": b"secret: outside", "pipe": ("pipe", "")}, folders["outside"])
        lay_out(files, folders["input"])
        before = listing(base, folders["written"])
        request = {
            "reader": reader,
            "told": list(told),
            "folder": str(folders["input"]),
            "elsewhere": str(folders["elsewhere"]),
            "written": str(folders["written"]),
            "reads_anywhere": reads_anywhere,
            "warm": warm,
            "cpu_seconds": cpu_seconds,
            "wall_seconds": wall_seconds,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the server of the watched readings has ended"
        answer: dict[str, str] = json.loads(line)
        after = listing(base, folders["written"])
        if after != before:
            changed = sorted(name for name in before | after if before.get(name) != after.get(name))
            answer = {"outcome": "wrote", "message": f"changed {', '.join(changed)}"}
        return answer

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=WALL_SECONDS)


def lay_out(files: Files, folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case bytes():
                path.write_bytes(content)
            case "link", target:
                path.symlink_to(target)
            case "hard link", target:
                path.hardlink_to(folder / target)
            case "pipe", _:
                os.mkfifo(path)
            case "folder", _:
                path.mkdir()
            case _:
                raise ValueError(f"{name}: no file is made of {content!r}")


def listing(base: Path, left_out: Path) -> dict[str, tuple[int, int]]:
    """What lies below `base`, without what is below `left_out`: size and time of change by path."""
    found = {}
    for path in base.rglob("*"):
        if not path.is_relative_to(left_out):
            status = path.lstat()
            found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


@pytest.fixture(scope="session")
def watched_reading() -> Iterator[WatchedReading]:
    reading = WatchedReading()
    yield reading
    reading.close()


def wanted_inputs(session: pytest.Session) -> int:
    """How many inputs a fuzzing test tries."""
    wanted = int(os.environ.get("ROASTERY_FUZZ_INPUTS", DEFAULT_INPUTS))
    tests = sum("fuzz" in getattr(item, "fixturenames", ()) for item in session.items)
    return math.ceil(wanted / tests)


@pytest.fixture
def fuzz_with(
    request: pytest.FixtureRequest, watched_reading: WatchedReading, tmp_path: Path
) -> Callable[..., dict[str, int]]:
    """`fuzz_with(wanted, reader, valid, inputs)`: see `fuzz`, with that many inputs."""
    seed = os.environ.get("ROASTERY_FUZZ_SEED")

    def run(
        wanted: int,
        reader: str,
        valid: Input,
        inputs: st.SearchStrategy[Input],
        known: Sequence[Input] = (),
        *,
        reads_anywhere: bool = False,
    ) -> dict[str, int]:
        tried = {"value": 0, "refused": 0}
        assert watched_reading.read(reader, *valid, tmp_path / "valid", warm=True)["outcome"] == "value"

        def read(given: Input) -> None:
            # The folder stays where the test fails: what was read last lies in it.
            answer = watched_reading.read(reader, *given, tmp_path / "last", reads_anywhere=reads_anywhere)
            assert answer["outcome"] in tried, f"{answer['outcome']}: {answer['message']}\nread: {tmp_path / 'last'}"
            tried[answer["outcome"]] += 1

        for given in known:
            read(given)
        settings = hypothesis.settings(
            max_examples=wanted,
            derandomize=seed is None,
            backend="independent",
            database=None,
            deadline=None,
            # Not made smaller: an input that hangs would take minutes for that. It lies whole where it was read.
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        read_each = settings(hypothesis.given(inputs)(read))
        (read_each if seed is None else hypothesis.seed(int(seed))(read_each))()
        total = sum(tried.values()) - len(known)
        assert total >= wanted, f"only {total} of {wanted} inputs were tried"
        request.node.user_properties.append(("fuzzed", {**tried, "known": len(known)}))
        return tried

    return run


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, fuzz_with: Callable[..., dict[str, int]]) -> Callable[..., dict[str, int]]:
    """`fuzz(reader, valid, inputs)`: `valid` is read; each of `inputs` gives a value or a `UserError` of one line.

    `known=[...]` are further inputs, tried each time: attacks that chance alone would seldom come to.
    """
    return partial(fuzz_with, wanted_inputs(request.session))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        for name, tried in report.user_properties:
            if name == "fuzzed":
                _tried[report.nodeid] = tried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for test, tried in sorted(_tried.items()):
        terminalreporter.write_line(f"{test}: {tried['value']} inputs read, {tried['refused']} refused")
    if _tried:
        known = sum(tried["known"] for tried in _tried.values())
        drawn = sum(tried["value"] + tried["refused"] for tried in _tried.values()) - known
        seed = os.environ.get("ROASTERY_FUZZ_SEED", "none")
        terminalreporter.write_line(f"fuzzed: {drawn} inputs (seed {seed}) beside {known} known attacks")


# Bytes that were changed


def _spliced(content: bytes, changes: Sequence[tuple[str, float, int, bytes]]) -> bytes:
    """The content with each change made, at a place that is a share of its length."""
    for kind, share, count, piece in changes:
        place = int(share * len(content))
        match kind:
            case "cut":
                content = content[:place]
            case "flip":
                content = (
                    content[:place]
                    + bytes(byte ^ (count % 255 + 1) for byte in content[place : place + 1])
                    + content[place + 1 :]
                )
            case "insert":
                content = content[:place] + piece + content[place:]
            case "overwrite":
                content = content[:place] + piece + content[place + len(piece) :]
            case "drop":
                content = content[:place] + content[place + count :]
            case "repeat":
                content = content[:place] + content[place : place + count] * 3 + content[place + count :]
    return content


EXTREMES = [b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"\x80" * 10 + b"\x01", (1 << 62).to_bytes(8, "little")]


@pytest.fixture(scope="session")
def mutated() -> Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]:
    """`mutated(contents)`: those bytes cut off, flipped, spliced, repeated, up to four times."""
    change = st.tuples(
        st.sampled_from(["cut", "flip", "insert", "overwrite", "drop", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 300),
        st.one_of(st.binary(max_size=12), st.sampled_from(EXTREMES)),
    )

    def mutate(contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        return st.builds(_spliced, contents, st.lists(change, min_size=1, max_size=4))

    return mutate


Mixed = Callable[..., st.SearchStrategy[Any]]


@pytest.fixture(scope="session")
def mixed() -> Mixed:
    """`mixed((4, these), (1, those))`: four of these to one of those. `one_of` would count every way in either."""

    def mix(*shares: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
        ways = [way for share, way in shares for _ in range(share)]
        return st.integers(0, len(ways) - 1).flatmap(ways.__getitem__)

    return mix


@pytest.fixture(scope="session")
def altered() -> Callable[[Any], Callable[[Sequence[tuple[tuple[Any, ...], Any]]], bytes]]:
    """`altered(valid)([(place, value), ...])`: valid content with other values at some places, as JSON's bytes."""

    def of(valid: Any) -> Callable[[Sequence[tuple[tuple[Any, ...], Any]]], bytes]:
        def changed(changes: Sequence[tuple[tuple[Any, ...], Any]]) -> bytes:
            content: Any = deepcopy(valid)
            for (*above, last), value in changes:
                place = content
                try:
                    for key in above:
                        place = place[key]
                    place[last] = value
                except (TypeError, KeyError, IndexError):
                    # An earlier change has taken the place away.
                    continue
            return json.dumps(content).encode()

        return changed

    return of


@pytest.fixture(scope="session")
def mostly(mixed: Mixed) -> Callable[[Any, st.SearchStrategy[Any]], st.SearchStrategy[Any]]:
    """`mostly(sound, hostile)`: the sound value five times out of six. What has several such parts is nearly valid."""
    return lambda sound, hostile: mixed((5, st.just(sound)), (1, hostile))
