"""A program that ends with whoever started it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

PATIENCE_SECONDS = 30.0


def kept(*program: str, grace: float | None = None) -> "subprocess.Popen[bytes]":
    script = "import cli.kept_process as kept; "
    if grace is not None:
        script += f"kept.GRACE_SECONDS = {grace}; "
    return subprocess.Popen([sys.executable, "-c", script + "kept.main()", *program], stdin=subprocess.PIPE)


def await_file(path: Path) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def gone(process: int) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_its_exit_code_is_the_programs() -> None:
    for program, code in (("exit 3", 3), ("exit 0", 0), ("kill -9 $$", 137)):
        process = kept("sh", "-c", program)
        assert process.wait(PATIENCE_SECONDS) == code


def test_the_end_of_stdin_ends_the_program_and_what_it_started_in_a_session_of_its_own(tmp_path: Path) -> None:
    process = kept("sh", "-c", f"setsid sleep 600 & echo $! $$ > {tmp_path}/pids; wait")
    pids = [int(pid) for pid in await_file(tmp_path / "pids").split()]
    assert process.stdin is not None
    process.stdin.close()
    process.wait(PATIENCE_SECONDS)
    assert all(gone(pid) for pid in pids)


def test_a_program_that_does_not_go_is_killed(tmp_path: Path) -> None:
    process = kept("sh", "-c", f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.1; done", grace=0.5)
    pid = int(await_file(tmp_path / "pid"))
    assert process.stdin is not None
    process.stdin.close()
    process.wait(PATIENCE_SECONDS)
    assert gone(pid)


def test_a_starter_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-m', 'cli.kept_process', 'sh', '-c',"
        f" 'echo $$ > {tmp_path}/pid; exec sleep 600'], stdin=subprocess.PIPE); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], env=os.environ)
    pid = int(await_file(tmp_path / "pid"))
    starter.kill()
    starter.wait()
    assert gone(pid)
