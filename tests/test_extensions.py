"""A user's own modules: found, imported once, and covered by a digest that runs none of them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from yacs.config import CfgNode

from roastery.config import load_config
from roastery.errors import ConfigError
from roastery.extensions import extensions_sha256, import_extensions


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder with the package `owls` in it, which nothing else has."""
    package = tmp_path / "owls"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("def add_keys(cfg):\n    cfg.MODEL.OWL = type(cfg)({'EYES': 2})\n\nnumber = 3\n")
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    for name in [name for name in sys.modules if name.split(".")[0] in ("owls", "broken", "lonely")]:
        del sys.modules[name]


def test_a_function_sees_the_config_before_it_is_read(project: Path) -> None:
    hooks = import_extensions(("owls.parts:add_keys",), project)
    file = project / "config.yaml"
    file.write_text("MODEL: {OWL: {EYES: 3}}\n")
    assert load_config(file, hooks=hooks).MODEL.OWL.EYES == 3
    with pytest.raises(ConfigError, match=r"has no key MODEL\.OWL"):
        load_config(file)


def test_what_is_installed_hides_what_the_project_has(project: Path) -> None:
    (project / "json").mkdir()
    (project / "json/__init__.py").write_text("raise RuntimeError")
    assert import_extensions(("json",), project) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("owls.wings", "no module owls.wings among what is installed nor in "),
        ("nowhere_at_all", "no module nowhere_at_all among what is installed nor in "),
        ("owls.parts:wings", "module owls.parts has no function 'wings'"),
        ("owls.parts:number", "module owls.parts has no function 'number'"),
        ("../owls", "names no module"),
        ("owls; import os", "names no module"),
        ("", "names no module"),
    ],
)
def test_an_entry_that_leads_nowhere_is_refused_by_its_name(project: Path, entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        import_extensions((entry,), project)


def test_what_a_module_itself_misses_comes_with_its_traceback(project: Path) -> None:
    (project / "broken.py").write_text("import something_that_is_not_there\n")
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there"):
        import_extensions(("broken",), project)


def test_the_digest_is_of_all_files_of_the_package_and_runs_none(project: Path) -> None:
    (project / "owls/parts.py").write_text("raise RuntimeError\n")
    first = extensions_sha256(("owls.parts",), project)
    assert extensions_sha256(("owls",), project) == first
    (project / "owls/deep").mkdir()
    (project / "owls/deep/more.py").write_text("x = 1\n")
    second = extensions_sha256(("owls.parts",), project)
    (project / "owls/deep/more.py").write_text("x = 2\n")
    third = extensions_sha256(("owls.parts",), project)
    assert len({first, second, third}) == 3


def test_a_module_that_lies_alone_has_a_digest_too(project: Path) -> None:
    (project / "lonely.py").write_text("x = 1\n")
    first = extensions_sha256(("lonely",), project)
    (project / "lonely.py").write_text("x = 2\n")
    assert extensions_sha256(("lonely",), project) != first
    with pytest.raises(ConfigError, match="no module nowhere_at_all"):
        extensions_sha256(("nowhere_at_all",), project)


def test_keys_of_an_extension_are_coerced_as_any(project: Path) -> None:
    def add(cfg: CfgNode) -> None:
        cfg.MODEL.OWL = CfgNode({"EYES": 2})

    file = project / "config.yaml"
    file.write_text("MODEL: {OWL: {EYES: 'many'}}\n")
    with pytest.raises(ConfigError, match=r"MODEL\.OWL\.EYES is 'many'"):
        load_config(file, hooks=[add])
