"""Packages that are installed for a test, as they are when they are broken."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[[dict[str, str]], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put files, by their paths, on the path of this process and of those that it starts."""

    def put(files: dict[str, str]) -> Path:
        folder = tmp_path / "installed"
        for name, source in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(source)
        monkeypatch.syspath_prepend(str(folder))
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
        return folder

    return put
