"""Retention: exactly what nobody needs goes, and what is no artifact is not touched."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roastery.filesystem import open_filesystem
from roastery.retention import Kept, Stored, collectable, remove, remove_all
from roastery.stages import STAGES
from roastery.store import MANIFEST, Store
from roastery.uses import FOLDER, RunningUses, Uses

KEYS = [f"{number:064x}" for number in range(40)]
DAY = 24 * 3600.0


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        yield Store(str(tmp_path / "store"))
    elif request.param == "s3":
        yield Store(f"{request.getfixturevalue('s3')}/some/prefix")
    else:
        yield Store(f"memory://{tmp_path.name}", cache=tmp_path / "cache")
        memory = fsspec.filesystem("memory")
        if memory.exists(f"/{tmp_path.name}"):
            memory.rm(f"/{tmp_path.name}", recursive=True)


def fill(store: Store, stage: str, key: str) -> None:
    with store.build(stage, key) as build:
        (build.directory / "a.txt").write_text(f"{stage} {key}")
        (build.directory / "b.bin").write_bytes(b"\0" * 10)


def collect(store: Store, needed: set[str], before: float | None = None) -> set[str]:
    """Remove what is collectable, as `roastery gc` does; gives its names."""
    uses = RunningUses(store, lease_seconds=0.2)
    found = collectable(store, needed | uses.names(), time.time() + 1 if before is None else before)
    done = remove_all(store, list(found), uses, lambda: None)
    return {artifact.name for artifact, gone in done if gone}


def files_in(store: Store) -> set[str]:
    filesystem, root = open_filesystem(store.url)
    return {str(path).removeprefix(f"{root}/") for path in filesystem.find(root)}


@dataclass(frozen=True)
class Drawn:
    """An artifact, and who needs it."""

    stage: str
    registered: bool
    live: bool
    """Whether a run that goes on uses it."""
    dead: bool
    """Whether a run that was killed used it."""
    days: float
    half: bool
    """Whether its manifest was never written."""

    @property
    def goes(self) -> bool:
        return not self.registered and not self.live and self.days > 1


DRAWN = st.builds(
    Drawn,
    stage=st.sampled_from([*STAGES, "recall"]),
    registered=st.booleans(),
    live=st.booleans(),
    dead=st.booleans(),
    days=st.sampled_from([0.5, 1.5, 400.0]),
    half=st.booleans(),
)


@settings(max_examples=60)
@given(drawn=st.lists(DRAWN, max_size=12))
def test_exactly_what_nobody_needs_goes(drawn: list[Drawn]) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store, now = Store(folder), time.time()
        uses = stack.enter_context(Uses(store, "m"))
        killed: list[str] = []
        for key, each in zip(KEYS, drawn, strict=False):
            fill(store, each.stage, key)
            path = Path(folder, each.stage, key)
            if each.half:
                (path / MANIFEST).unlink()
            for file in path.iterdir():
                os.utime(file, (now - each.days * DAY,) * 2)
            if each.live:
                uses.note(each.stage, key)
            if each.dead:
                killed.append(f'"{each.stage}/{key}"')
        Path(folder, FOLDER).mkdir(exist_ok=True)
        Path(folder, FOLDER, f"{'d' * 32}.json").write_text(f'{{"artifacts": [{",".join(killed)}]}}')
        names = [f"{each.stage}/{key}" for key, each in zip(KEYS, drawn, strict=False)]
        needed = {name for name, each in zip(names, drawn, strict=True) if each.registered}
        before = {name: sorted(p.name for p in Path(folder, name).iterdir()) for name in names}

        gone = collect(store, needed, now - DAY)

        assert gone == {name for name, each in zip(names, drawn, strict=True) if each.goes}
        for name, each in zip(names, drawn, strict=True):
            if each.goes:
                assert not Path(folder, name).exists()
            else:
                assert sorted(p.name for p in Path(folder, name).iterdir()) == before[name]
                assert (store.find(*name.split("/")) is None) == each.half


def test_it_says_of_each_how_large_it_is_and_when_it_was_made_and_counts_what_is_kept(store: Store) -> None:
    for key in KEYS[:3]:
        fill(store, "trace", key)
    kept = Kept()
    found = list(collectable(store, {f"trace/{KEYS[0]}"}, time.time() + 5, kept))
    assert [artifact.name for artifact in found] == [f"trace/{key}" for key in KEYS[1:3]]
    assert all(abs(artifact.modified - time.time()) < 60 for artifact in found)
    assert found[0].bytes > len(f"trace {KEYS[1]}") + 10
    assert kept == Kept(needed=1, young=0)
    kept = Kept()
    assert list(collectable(store, set(), time.time() - DAY, kept)) == []
    assert kept == Kept(needed=0, young=3)


def test_what_is_removed_is_gone_and_its_neighbour_is_whole(store: Store) -> None:
    fill(store, "trace", KEYS[0])
    fill(store, "trace", KEYS[1])
    assert collect(store, {f"trace/{KEYS[1]}"}) == {f"trace/{KEYS[0]}"}
    assert store.find("trace", KEYS[0]) is None
    assert store.find("trace", KEYS[1]) is not None
    assert {name.split("/")[1] for name in files_in(store)} == {KEYS[1]}
    # And it can be built again.
    fill(store, "trace", KEYS[0])
    assert store.find("trace", KEYS[0]) is not None


def test_what_is_half_built_is_removed_where_nobody_builds_it(store: Store) -> None:
    fill(store, "trace", KEYS[0])
    filesystem, root = open_filesystem(store.url)
    filesystem.rm_file(f"{root}/trace/{KEYS[0]}/{MANIFEST}")
    assert collect(store, set(), time.time() - DAY) == set()
    assert collect(store, set()) == {f"trace/{KEYS[0]}"}
    assert files_in(store) == set()


def only(found: Iterator[Stored]) -> Stored:
    (artifact,) = found
    return artifact


def test_what_a_run_comes_to_use_after_it_was_listed_stays(store: Store) -> None:
    fill(store, "trace", KEYS[0])
    uses = RunningUses(store)
    artifact = only(collectable(store, uses.names(), time.time() + 5))
    with Uses(store, "m") as run:
        run.note("trace", KEYS[0])
        assert not remove(store, artifact, uses)
    assert store.find("trace", KEYS[0]) is not None
    assert remove(store, artifact, uses)


def test_what_a_run_comes_to_use_while_its_lease_was_waited_for_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, "trace", KEYS[0])
    uses = RunningUses(store)
    artifact = only(collectable(store, set(), time.time() + 5))
    leased = store._leased
    with Uses(store, "m") as run:

        def late(stage: str, key: str) -> Any:
            run.note(stage, key)
            return leased(stage, key)

        monkeypatch.setattr(store, "_leased", late)
        assert not remove(store, artifact, uses)
    assert store.find("trace", KEYS[0]) is not None


def test_what_was_built_again_since_it_was_listed_stays(store: Store) -> None:
    filesystem, root = open_filesystem(store.url)
    fill(store, "trace", KEYS[0])
    artifact = only(collectable(store, set(), time.time() + 5))
    filesystem.rm_file(f"{root}/trace/{KEYS[0]}/{MANIFEST}")
    time.sleep(1.1)
    fill(store, "trace", KEYS[0])
    assert not remove(store, artifact, RunningUses(store))
    assert store.find("trace", KEYS[0]) is not None


def test_one_that_may_not_go_on_removes_nothing(store: Store) -> None:
    fill(store, "trace", KEYS[0])

    def no() -> None:
        raise ZeroDivisionError

    found = list(collectable(store, set(), time.time() + 5))
    with pytest.raises(ZeroDivisionError):
        list(remove_all(store, found, RunningUses(store), no))
    assert store.find("trace", KEYS[0]) is not None


KILLED = """
import os, sys, time
from roastery.retention import collectable, remove
from roastery.store import Store
from roastery.uses import RunningUses
store = Store(sys.argv[1])
removing, left = store._filesystem.rm_file, int(sys.argv[2])
def rm_file(path):
    global left
    if "/trace/" in path and "/.leases/" not in path:
        if left == 0:
            os.kill(os.getpid(), 9)
        left -= 1
    removing(path)
store._filesystem.rm_file = rm_file
for artifact in list(collectable(store, set(), time.time() + 5)):
    remove(store, artifact, RunningUses(store))
"""


@pytest.mark.parametrize("files", [0, 1, 2])
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_killed_in_the_middle_it_leaves_no_artifact_that_is_half_there(
    kind: str, files: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = Store(request.getfixturevalue("s3") + "/store" if kind == "s3" else str(tmp_path / "store"))
    fill(store, "trace", KEYS[0])
    done = subprocess.run([sys.executable, "-c", KILLED, store.url, str(files)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    fresh = Store(store.url)
    left = {name for name in files_in(store) if name.startswith("trace/")}
    assert len(left) == 3 - files
    assert (fresh.find("trace", KEYS[0]) is None) == (files > 0)
    assert (f"trace/{KEYS[0]}/{MANIFEST}" in left) == (files == 0)
    # The next one removes the rest.
    assert collect(fresh, set()) == {f"trace/{KEYS[0]}"}
    assert {name for name in files_in(store) if name.startswith("trace/")} == set()


def tree(folder: Path) -> dict[str, Any]:
    """All of a folder, links as links."""
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def folder_of_a_stranger(root: Path, outside: Path) -> None:
    """What is in a store and is none of ours, some of it very like it."""
    for name, content in {
        "README.txt": "a stranger's",
        f"notes/{KEYS[0]}/notes.txt": "no stage",
        f"notes/{KEYS[1]}/{MANIFEST}": '{"stage": "trace", "key": "0", "files": {}}',
        f"notes/{KEYS[2]}/{MANIFEST}": "{",
        f"trace/{KEYS[3]}.txt": "beside artifacts",
        f"trace/{KEYS[4][:-1]}/a.txt": "no key",
        f"trace/{KEYS[5]}/deeper/a.txt": "no folder of an artifact's",
        "failures/m/trace/request.json": "{}",
        f"outcomes/{'a' * 8}.json": "{}",
        ".work/trace-0/a.txt": "half",
        f".leases/trace/{KEYS[6]}.0": "{}",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    # Links to what would be artifacts, were they here.
    elsewhere = Store(str(outside))
    fill(elsewhere, "trace", KEYS[7])
    fill(elsewhere, "sample", KEYS[8])
    (root / "trace" / KEYS[7]).symlink_to(outside / "trace" / KEYS[7])
    (root / "sample").symlink_to(outside / "sample")
    (root / "report" / KEYS[9]).mkdir(parents=True)
    (root / "report" / KEYS[9] / MANIFEST).symlink_to(outside / "trace" / KEYS[7] / MANIFEST)


def test_what_is_no_artifact_is_not_touched(tmp_path: Path) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    folder_of_a_stranger(root, outside)
    before, beside = tree(root), tree(outside)
    store = Store(str(root))
    fill(store, "trace", KEYS[10])
    assert collect(store, set()) == {f"trace/{KEYS[10]}"}
    assert tree(root) == before
    assert tree(outside) == beside


def test_a_strangers_file_in_an_artifacts_folder_stays_and_a_link_in_it_is_not_followed(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    fill(store, "trace", KEYS[0])
    folder = tmp_path / "store" / "trace" / KEYS[0]
    (folder / "deeper").mkdir()
    (folder / "deeper" / "notes.txt").write_text("a stranger's")
    target = tmp_path / "target.txt"
    (folder / "a.txt").replace(target)
    (folder / "a.txt").symlink_to(target)
    assert collect(store, set()) == {f"trace/{KEYS[0]}"}
    assert sorted(path.name for path in folder.rglob("*")) == ["deeper", "notes.txt"]
    assert target.read_text() == f"trace {KEYS[0]}"
    # Nor is it taken for something half-built.
    assert collect(store, set()) == set()


@pytest.mark.parametrize("name", ["../../outside.txt", "/etc/passwd", "a/b", "..", MANIFEST])
def test_a_manifest_that_names_what_lies_elsewhere_removes_nothing_there(tmp_path: Path, name: str) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "outside.txt").write_text("a stranger's")
    folder = tmp_path / "store" / "notes" / KEYS[0]
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(
        f'{{"stage": "notes", "key": "{KEYS[0]}", "files": {{"{name}": {{"sha256": "0", "bytes": 1}}}}}}'
    )
    assert collect(store, set()) == set()
    assert (tmp_path / "outside.txt").read_text() == "a stranger's"


def test_on_s3_a_look_through_a_store_is_a_request_a_thousand_objects_and_one_for_each_that_goes(
    s3: str, s3_gate: Any
) -> None:
    store = Store(f"{s3}/store")
    for key in KEYS[:6]:
        fill(store, "trace", key)
    s3_gate.open()
    list(collectable(store, {f"trace/{key}" for key in KEYS[:4]}, time.time() + 5))
    asked = [path for _, path, *_ in s3_gate.asked]
    assert sum("manifest.json" in path for path in asked) == 2
    assert len(asked) <= 6
