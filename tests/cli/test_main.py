"""The command as a whole: its exit codes."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import cli.convert
from cli.main import app
from roastery.errors import ConfigError, RoasteryError, RuntimeFailed


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("config.yaml: no such file;\ngive one"), 2), (RuntimeFailed("caffe2: died;\nlast words: oom"), 1)],
    ids=["a_mistake", "a_fault"],
)
def test_an_error_with_a_message_of_its_own_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: RoasteryError, code: int
) -> None:
    def fails() -> None:
        """Fail."""
        raise error

    monkeypatch.setattr(cli.convert, "convert", fails)
    result = CliRunner().invoke(app, ["convert"])
    assert result.exit_code == code
    assert result.stderr == f"roastery: {' '.join(str(error).split())}\n"
    assert result.stdout == ""


def test_any_other_error_is_not_made_little_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        """Fail."""
        raise ZeroDivisionError

    monkeypatch.setattr(cli.convert, "convert", fails)
    assert isinstance(CliRunner().invoke(app, ["convert"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(("command", "searches"), [("models", "False"), ("run", "True"), ("--version", "True")])
def test_commands_that_answer_and_end_do_without_the_search_for_cycles(command: str, searches: str) -> None:
    code = (
        "import gc, sys, cli.main as main; sys.argv = ['roastery', sys.argv[1]]; "
        "main.app = lambda: print(gc.isenabled()); main.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == searches
