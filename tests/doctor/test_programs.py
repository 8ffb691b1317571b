"""Genuine Caffe2's interpreter and graphviz are really asked."""

from pathlib import Path

import pytest

from roastery.doctor.programs import look_at_caffe2, look_at_graphviz


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.caffe2
def test_genuine_caffe2_says_its_version() -> None:
    found = look_at_caffe2()
    assert found.state == "ok"
    assert "of PyTorch 1." in found.found


def test_an_interpreter_whose_caffe2_does_not_load_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$*" in *find_spec*) exit 0;; esac; echo "ImportError: libcaffe2.so" >&2; exit 1'
    monkeypatch.setenv("CAFFE2_PYTHON", str(_program(tmp_path / "python", script)))
    found = look_at_caffe2()
    assert found.state == "wrong"
    assert "ImportError: libcaffe2.so" in found.found
    assert "make caffe2" in found.way_out


def test_no_interpreter_is_missing_and_one_that_is_named_and_no_program_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roastery.caffe2.caffe2_runtime._INSTALLED", Path("no/such/python"))
    monkeypatch.delenv("CAFFE2_PYTHON", raising=False)
    found = look_at_caffe2()
    assert (found.state, "make caffe2" in found.way_out) == ("missing", True)
    monkeypatch.setenv("CAFFE2_PYTHON", str(tmp_path / "none"))
    assert look_at_caffe2().state == "wrong"


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ("echo 'dot - graphviz version 2.43.0 (0)' >&2", "ok", "2.43.0"),
        ("echo 'libgvc.so.6: cannot open' >&2; exit 127", "wrong", "libgvc.so.6: cannot open"),
    ],
)
def test_graphviz_says_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: str, said: str
) -> None:
    _program(tmp_path / "dot", script)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = look_at_graphviz()
    assert (found.state, said in found.found) == (state, True)


def test_no_graphviz_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look_at_graphviz().state == "missing"
