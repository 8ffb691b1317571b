"""detectron2 where it is missing or broken: one line that says which, and the way out. Fakes stand in for it."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roastery.errors import Detectron2Unavailable
from roastery.sources.live import importing


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`fake(source)`: a detectron2 whose `modeling` has this source, before any that is installed."""
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "detectron2"}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)

    def make(source: str) -> None:
        (tmp_path / "detectron2").mkdir()
        (tmp_path / "detectron2/__init__.py").write_text("__version__ = '0.6'\n")
        (tmp_path / "detectron2/modeling.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    importing.detectron2.cache_clear()
    importing.detectron2_folder.cache_clear()
    yield make
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        del sys.modules[name]
    importing.detectron2.cache_clear()
    importing.detectron2_folder.cache_clear()


def test_a_torchvision_that_does_not_load_is_named(fake: Callable[[str], None]) -> None:
    fake("raise RuntimeError('operator torchvision::nms does not exist')\n")
    with pytest.raises(Detectron2Unavailable, match=r"torchvision::nms does not exist\); install the build of torch"):
        importing.detectron2()


def test_any_other_failure_is_told_with_its_reason(fake: Callable[[str], None]) -> None:
    fake("import something_that_is_not_there\n")
    with pytest.raises(Detectron2Unavailable, match=r"No module named 'something_that.*how-to/live-detectron2\.md"):
        importing.detectron2()


def test_names_of_an_older_pillow_and_numpy_are_lent_while_it_is_imported(fake: Callable[[str], None]) -> None:
    fake("import numpy\nfrom PIL import Image\nfound = (Image.LINEAR, numpy.bool, numpy.float)\n")
    before = (set(vars(Image)), set(vars(np)))
    assert importing.detectron2().found[0] == Image.Resampling.BILINEAR
    assert (set(vars(Image)), set(vars(np))) == before


def test_where_it_lies_is_found_without_running_it(fake: Callable[[str], None], tmp_path: Path) -> None:
    fake("raise RuntimeError\n")
    assert importing.detectron2_folder() == tmp_path / "detectron2"


def test_where_there_is_none_the_way_out_is_said(fake: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Detectron2Unavailable, match="detectron2 is not installed"):
        importing.detectron2()
    with pytest.raises(Detectron2Unavailable, match="or use source: native"):
        importing.detectron2_folder()
