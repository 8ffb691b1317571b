"""Disks, memory and cores are told with what they are enough for."""

from collections import namedtuple
from pathlib import Path

import pytest

from roastery.doctor import resources
from roastery.doctor.resources import look_at_disk, look_at_machine, nearest
from roastery.spec import PipelineConfig

_Usage = namedtuple("_Usage", ["total", "used", "free"])


@pytest.mark.parametrize(("free", "state"), [((5 << 30) - 1, "warning"), (5 << 30, "ok")])
def test_a_disk_that_is_nearly_full_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(1 << 40, 0, free))
    found = look_at_disk("a disk", tmp_path / "not" / "there")
    assert (found.state, "5.0 GiB free" in found.found, str(tmp_path) in found.found) == (state, True, True)


def test_the_nearest_folder_is_the_one_that_is_there(tmp_path: Path) -> None:
    assert nearest(tmp_path) == tmp_path
    assert nearest(tmp_path / "a" / "b") == tmp_path
    (tmp_path / "file").write_text("")
    assert nearest(tmp_path / "file" / "b") == tmp_path / "file"


@pytest.mark.parametrize(
    ("memory", "state", "said"), [(7 << 30, "ok", "2 models at a time"), (2 << 30, "warning", "1 model at a time")]
)
def test_a_machine_is_told_by_how_many_models_it_takes(
    monkeypatch: pytest.MonkeyPatch, memory: int, state: str, said: str
) -> None:
    for module in ("roastery.machine", resources.__name__):
        monkeypatch.setattr(f"{module}.cores", lambda: 4)
        monkeypatch.setattr(f"{module}.memory_available", lambda: memory)
    found = look_at_machine(PipelineConfig())
    assert (found.state, said in found.found) == (state, True)
