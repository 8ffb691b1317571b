"""`make cpp`: what it downloads and unpacks, and what it says where it cannot."""

import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parent.parent.parent / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOOLS))
    import build_cpp

    monkeypatch.setattr(build_cpp, "BUILD", tmp_path / "build")
    yield build_cpp
    sys.modules.pop("build_cpp", None)


def wheel(file: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


def source_package(file: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def test_headers_alone_are_unpacked_and_once(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"a-1/src/google/x.h": b"x", "a-1/src/google/x.cc": b"c", "a-1/other/y.h": b"y"}
    archive = source_package(tmp_path / "a-1.tar.gz", contents)
    asked: list[str] = []

    def download(requirement: str, *_: object) -> Path:
        asked.append(requirement)
        return archive

    monkeypatch.setattr(tool, "download", download)
    for _ in range(2):
        folder = tool.headers("a", "a==1", "00", "src/")
        assert [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()] == ["google/x.h"]
    assert asked == ["a==1"]


@pytest.mark.parametrize("make", [wheel, source_package])
def test_a_file_that_would_lie_outside_is_not_unpacked(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object
) -> None:
    suffix = "whl" if make is wheel else "tar.gz"
    archive = make(tmp_path / f"a.{suffix}", {"src/../../../evil.h": b"evil"})  # type: ignore[operator]
    monkeypatch.setattr(tool, "download", lambda *_: archive)
    with pytest.raises(tool.CannotBuildError, match="would lie outside its folder"):
        tool.headers("a", "a==1", "00", "src/")
    assert not list(tmp_path.rglob("evil.h"))


def test_nothing_of_a_package_of_another_digest_is_run(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    contents = {
        "a-1/pyproject.toml": build.encode(),
        "a-1/backend.py": f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n".encode(),
        "a-1/PKG-INFO": b"Metadata-Version: 2.1\nName: a\nVersion: 1\n",
        "a-1/src/x.h": b"x",
    }
    (tmp_path / "index").mkdir()
    source_package(tmp_path / "index" / "a-1.tar.gz", contents)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(tool.CannotBuildError, match=r"a==1 cannot be downloaded .*DO NOT MATCH THE HASHES"):
        tool.headers("a", "a==1", "0" * 64, "src/")
    assert not ran.exists()
    assert not list((tmp_path / "build").rglob("*.h"))


def test_what_is_not_installed_is_named_with_the_packages_that_bring_it(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "INCLUDES", (tmp_path,))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("make cpp: no cmake, g++, eigen3/Eigen/Core, ")
    assert "`apt-get install cmake g++ libeigen3-dev" in said


def test_without_caffe2_it_says_how_to_have_it(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.delenv("CAFFE2_PYTHON", raising=False)
    with pytest.raises(tool.CannotBuildError, match="`make caffe2` brings it"):
        tool.torch_folder()
