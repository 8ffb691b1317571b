"""A container's limits are what a process may use of a machine."""

import os
from pathlib import Path

import psutil
import pytest

from roastery import machine
from roastery.machine import cores, memory_available, processes_and_threads
from roastery.spec import PipelineConfig

_GIB = 1 << 30
_VERSIONS = {
    2: ("0::/team/run", "", {"cpu.max": "{quota} 100000"}, ("memory.max", "memory.current", "inactive_file")),
    1: (
        "5:memory:/team/run\n4:cpu,cpuacct:/team/run",
        "memory",
        {"cpu.cfs_quota_us": "{quota}", "cpu.cfs_period_us": "100000"},
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ),
}


@pytest.fixture(params=_VERSIONS, ids=["version 1" if key == 1 else "version 2" for key in _VERSIONS])
def limited(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A control group whose own limit is wide, in one that has 1.5 cores and 4 GiB, of which 3 are used, 2 by files."""
    lines, folder, quotas, (limit, used, inactive) = _VERSIONS[request.param]
    (tmp_path / "own").write_text(lines)
    groups = tmp_path / "groups"
    for name, quota, memory in (("team", "150000", 4), ("team/run", "max" if request.param == 2 else "-1", 64)):
        processor = groups / ("cpu,cpuacct" if folder else "") / name
        processor.mkdir(parents=True, exist_ok=True)
        for file, content in quotas.items():
            (processor / file).write_text(content.format(quota=quota))
        group = groups / folder / name
        group.mkdir(parents=True, exist_ok=True)
        (group / limit).write_text(str(memory * _GIB))
        (group / used).write_text(str(3 * _GIB))
        (group / "memory.stat").write_text(f"anon 1\n{inactive} {2 * _GIB}\n")
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_CONTROL_GROUPS", groups)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100 * _GIB}))
    return int(request.param)


@pytest.mark.usefixtures("limited")
def test_the_limits_of_the_groups_above_are_heeded() -> None:
    assert cores() == 2
    assert memory_available() == 3 * _GIB
    assert processes_and_threads(PipelineConfig()) == (1, 2)


def test_without_a_group_the_machines_own_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 7 * _GIB}))
    assert (cores(), memory_available()) == (3, 7 * _GIB)
    assert processes_and_threads(PipelineConfig()) == (2, 1)


def test_the_pipelines_own_word_goes_over_it() -> None:
    assert processes_and_threads(PipelineConfig(processes=5, threads=3)) == (5, 3)
