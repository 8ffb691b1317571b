"""Tests of one xdist group share a worker: what they share is made once, and what would disturb them waits."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(6))
def test_number(number):
    pass
"""


def test_the_tests_of_a_group_run_in_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_numbers.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "-p",
        "no:cacheprovider",
        tmp_path,
    ]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120)
    workers = {line.split("]")[0] for line in done.stdout.splitlines() if " PASSED " in line}
    assert done.stdout.count(" PASSED ") == 6, done.stdout
    assert len(workers) == 1, done.stdout
