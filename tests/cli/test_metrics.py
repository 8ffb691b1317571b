"""`roastery metrics`, really served and scraped, and what is refused before."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.fixture
def database(tmp_path: Path) -> str:
    """MLflow's empty tables."""
    from roastery.registry.database import make_database

    make_database(tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_prometheus_finds_them_where_it_was_told_and_a_signal_ends_it(
    database: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    place = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "cli.main", "metrics", "--listen", place, "--tracking-uri", database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"metrics  http://{place}/metrics\n"
            for _ in range(2):
                with urllib.request.urlopen(f"http://{place}/metrics", timeout=30) as answer:
                    said = answer.read().decode()
                assert "roastery_registry_up 1.0\n" in said
                assert 'roastery_models{verdict="passed"} 0.0\n' in said
        finally:
            process.terminate()
        started = time.monotonic()
        assert process.wait(30) == 0
        assert time.monotonic() - started < 20


def test_once_they_are_printed(database: str) -> None:
    result = CliRunner().invoke(app, ["metrics", "--once", "--tracking-uri", database])
    assert result.exit_code == 0, result.output
    assert "# TYPE roastery_model_ap gauge\n" in result.output


def test_a_registry_that_is_none_is_a_mistake(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["metrics", "--once", "--tracking-uri", f"sqlite:///{tmp_path}/none.db"])
    assert result.exit_code == 2
    assert "no such registry" in result.output


@pytest.mark.parametrize("place", ["9300", "localhost", "127.0.0.1:0", "127.0.0.1:70000", "http://a:1", "a b:1"])
def test_a_place_that_is_none_is_a_mistake(database: str, place: str) -> None:
    result = CliRunner().invoke(app, ["metrics", "--listen", place, "--tracking-uri", database])
    assert result.exit_code == 2
    assert f"--listen {place}: not an address and a port" in result.output


def test_a_port_that_is_taken_is_said(database: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(app, ["metrics", "--listen", place, "--tracking-uri", database])
    assert result.exit_code == 2
    assert f"--listen {place}: cannot be listened at" in result.output
