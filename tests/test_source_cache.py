"""A digest of sources is taken once on a machine, and anew when anything that decides it is another."""

from pathlib import Path

import pytest

from roastery.source_cache import files_sha256, remembered

MODULES = ("roastery.stage",)
FIRST, SECOND = "1" * 64, "2" * 64


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROASTERY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "roastery"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "stage.py").write_text("VALUE = 1\n")
    (folder / "table.yaml").write_text("a: 1\n")
    return folder


def again(root: Path, modules: tuple[str, ...] = MODULES) -> str:
    """What another process is told, which would take the second digest itself."""
    files_sha256.cache_clear()
    return remembered(modules, root, lambda: SECOND)


def test_another_process_is_told_what_the_first_took(root: Path) -> None:
    assert remembered(MODULES, root, lambda: FIRST) == FIRST
    (root / "__pycache__" / "stage.pyc").write_bytes(b"compiled")
    assert again(root) == FIRST


def test_other_modules_or_any_other_byte_or_name_have_a_digest_of_their_own(root: Path) -> None:
    remembered(MODULES, root, lambda: FIRST)
    assert again(root, ("roastery.other",)) == SECOND
    (root / "table.yaml").write_text("a: 2\n")
    assert again(root) == SECOND
    (root / "table.yaml").write_text("a: 1\n")
    assert again(root) == FIRST
    (root / "table.yaml").rename(root / "other.yaml")
    assert again(root) == SECOND


def test_another_interpreter_takes_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered(MODULES, root, lambda: FIRST)
    monkeypatch.setattr("sys.version", "3.12.0")
    assert again(root) == SECOND


@pytest.mark.parametrize("content", [b"", b"1" * 63, b"\xff" * 64, b"G" * 64])
def test_what_is_no_digest_is_taken_anew(root: Path, content: bytes) -> None:
    remembered(MODULES, root, lambda: FIRST)
    (kept,) = (root.parent / "cache" / "sources").iterdir()
    kept.write_bytes(content)
    assert again(root) == SECOND
    assert kept.read_text() == SECOND


def test_without_a_place_to_keep_it_a_digest_is_taken_each_time(root: Path) -> None:
    (root.parent / "cache").write_text("no folder")
    assert remembered(MODULES, root, lambda: FIRST) == FIRST
    assert again(root) == SECOND
