"""Python and packages are held to what Roastery's metadata asks for."""

import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from roastery.doctor.installation import look_at_extra, look_at_packages, look_at_python, look_at_torch

Install = Callable[[dict[str, str]], Path]


def _metadata(*lines: str) -> dict[str, str]:
    """A Roastery that asks for something else than the one that is here."""
    text = "\n".join(["Metadata-Version: 2.1", "Name: roastery", "Version: 0.1.0", *lines, ""])
    return {"roastery-0.1.0.dist-info/METADATA": text}


def test_this_installation_is_well() -> None:
    assert look_at_python().found == platform.python_version()
    assert [look().state for look in (look_at_python, look_at_packages)] == ["ok", "ok"]


def test_pytorch_is_told_with_its_device() -> None:
    found = look_at_torch()
    assert found.state == "ok"
    assert found.found.startswith(torch.__version__)


def test_another_python_is_wrong(install: Install) -> None:
    install(_metadata("Requires-Python: >=3.99"))
    found = look_at_python()
    assert found.state == "wrong"
    assert ">=3.99" in found.found


def test_every_package_of_another_version_and_every_missing_one_is_named(install: Install) -> None:
    numpy = importlib.metadata.version("numpy")
    install(_metadata("Requires-Dist: numpy<1", "Requires-Dist: no-such-package>=2", "Requires-Dist: rich"))
    found = look_at_packages()
    assert found.state == "wrong"
    assert found.found == f"numpy is {numpy}, not <1; no-such-package is missing"


@pytest.mark.parametrize(
    ("asked", "state"), [("no-such-package", "missing"), ("rich", "ok"), ("numpy<1", "wrong")], ids=str
)
def test_an_extra_is_missing_only_where_nothing_of_it_is_there(install: Install, asked: str, state: str) -> None:
    install(_metadata("Requires-Dist: numpy", "Provides-Extra: s3", f'Requires-Dist: {asked}; extra == "s3"'))
    assert look_at_extra("s3").state == state
