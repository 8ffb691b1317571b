"""A `~` at the start of a path, and the place of copies."""

from pathlib import Path

import pytest

from roastery.config import load_config
from roastery.errors import ConfigError
from roastery.home import at_home, cache_folder
from roastery.spec import load_models


def test_a_home_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert at_home("~/a.yaml") == Path("/home/somebody/a.yaml")
    assert at_home("a/~/b.yaml") == Path("a/~/b.yaml")


@pytest.mark.parametrize("path", ["~nobody-at-all/x", "~\ud800/x", "~a\0b/x"])
def test_where_there_is_no_such_home_the_path_stands_as_it_is(path: str) -> None:
    assert at_home(path) == Path(path)


def test_copies_are_kept_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir(tmp_path)
    for name in ("ROASTERY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("/home/somebody/.cache/roastery")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder() == Path("/var/cache/roastery")
    monkeypatch.setenv("ROASTERY_CACHE", "~/copies")
    assert cache_folder() == Path("/home/somebody/copies")
    monkeypatch.setenv("ROASTERY_CACHE", "copies")
    assert cache_folder() == tmp_path / "copies"


@pytest.mark.parametrize("path", ["~\\ud800/x", "~a\\0b/x"])
def test_a_home_that_nobody_can_have_is_refused_or_left_to_who_opens_it(tmp_path: Path, path: str) -> None:
    (tmp_path / "config.yaml").write_text(f'_BASE_: "{path}"\n')
    with pytest.raises(ConfigError, match="No path has such characters"):
        load_config(tmp_path / "config.yaml")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.yaml").write_text(f'name: a\nconfig: "{path}"\nweights: w.pkl\ndataset: d\n')
    config = load_models(tmp_path / "models")["a"].config
    with pytest.raises(ConfigError, match="No path has such characters"):
        load_config(config)
